-- No source states dealer rebates yet; the shape is agreed so that readers can be written.
select {{ contracted_empty() }}
where 1 = 0
