-- No source reports temperatures yet; the shape is agreed so that readers can be written.
select {{ contracted_empty() }}
where 1 = 0
