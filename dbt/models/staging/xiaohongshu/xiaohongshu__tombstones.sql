{{ conform_tombstones('xiaohongshu', ref('stg_xiaohongshu__tombstones')) }}
