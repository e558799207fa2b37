"""A real cluster for the tests of Dask arrays: processes of one thread each."""

import pytest

try:
    import dask
    import distributed
except ImportError:  # the tests that need them are skipped
    dask = distributed = None


@pytest.fixture(scope="session")
def cluster():
    """Two workers, each a process."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit="2GB",
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """What computes all graphs of a test, on the cluster's workers."""
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture(params=["threads", pytest.param("client", marks=pytest.mark.slow)])
def scheduler(request):
    """All graphs of a test by threads of this process, and on a cluster."""
    if request.param == "threads":
        with dask.config.set(scheduler="threads"):
            yield request.param
    else:
        request.getfixturevalue("client")
        yield request.param
