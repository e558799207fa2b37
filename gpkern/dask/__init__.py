"""How it is done on blocks: Dask's graphs, with this package's engines in their tasks.

The only place that imports dask, and only when a Dask array comes in. Rows of X are
blocks that stay where they are; what every block is compared with, such as centers, is
sent to each worker once; sums over blocks are added up in a tree.
"""
