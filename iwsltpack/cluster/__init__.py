"""Many machines by dask.distributed: connecting, running items on workers, naming the ones that are lost.

Nothing here knows what an item is. `dask` and `distributed` are an extra and are imported only when used.
"""
