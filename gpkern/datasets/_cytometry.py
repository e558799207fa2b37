"""Flow cytometry of blood cells: seven markers, for density estimates and clusters."""

from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

_FOLDER = Path(__file__).parent
_DATA_FILE = _FOLDER / "data" / "cytometry.npz"
_DESCR_FILE = _FOLDER / "descr" / "cytometry.rst"
# Of what is stored.
_UNIT = 0.001


def load_cytometry(*, as_frame=False):
    """Load the flow cytometry data set (densities and clusters, no target).

    How brightly 20,853 white blood cells glow in seven colours, each of a marker: kinds
    of cells are where many are alike. The data ship with the package;
    nothing is downloaded.

    ==============   =================================
    Samples total    20853
    Dimensionality   7
    Features         real, -4.0 to 8.2
    ==============   =================================

    Parameters
    ----------
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame. Requires pandas.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : {ndarray, DataFrame} of shape (20853, 7)
            ``arcsinh(light / 150)`` of each marker, float32.
        frame : DataFrame of shape (20853, 7) or None
            The same as `data` if `as_frame` is True, else None.
        feature_names : list of str
            The markers.
        DESCR : str
            The full description of the data set.
        data_filename : str
            The path to the data file.

    Examples
    --------
    >>> from gpkern.datasets import load_cytometry
    >>> cells = load_cytometry()
    >>> cells.data.shape
    (20853, 7)
    >>> cells.feature_names
    ['CD10', 'CD19', 'CD20', 'CD34', 'CD38', 'CD45', 'Syto 41']
    """
    with np.load(_DATA_FILE, allow_pickle=False) as stored:
        data = np.ascontiguousarray(stored["events"].T).astype(np.float32)
        names = stored["names"].tolist()
    data *= np.float32(_UNIT)
    frame = None
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "load_cytometry with as_frame=True requires pandas."
            ) from error
        data = frame = pd.DataFrame(data, columns=names)
    return Bunch(
        data=data,
        frame=frame,
        feature_names=names,
        DESCR=_DESCR_FILE.read_text(encoding="utf-8"),
        data_filename=str(_DATA_FILE),
    )
