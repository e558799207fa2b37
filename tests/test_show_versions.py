import subprocess
import sys
from importlib import metadata

import pytest

import gpkern
from gpkern import _show_versions
from gpkern.cpu import compiled

SECTIONS = ["System:", "Dependencies:", "CPU:", "BLAS and OpenMP:", "GPU:"]


REQUIREMENTS = ["scikit-learn>=1.7", "numpy>=1.26", "no-such-package", "scipy>=1.11"]


@pytest.fixture(autouse=True)
def requirements(monkeypatch):
    """Those of an installed gpkern, whether it is or not."""
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIREMENTS)


def shown(capsys):
    _show_versions.show_versions()
    return capsys.readouterr().out


def test_sections(capsys):
    lines = shown(capsys).splitlines()
    assert [line for line in lines if line and line[0] != " "] == SECTIONS
    assert not any("failed:" in line for line in lines)


def test_versions(capsys):
    out = shown(capsys)
    assert f"gpkern: {gpkern.__version__}" in out
    assert ".".join(map(str, sys.version_info[:3])) in out
    for name in ("scikit-learn", "numpy", "scipy"):
        assert f"  {name}: {metadata.version(name)}\n" in out
    assert "  no-such-package: not installed\n" in out


def test_threads_and_cache(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GPKERN_CACHE_DIR", str(tmp_path))
    out = shown(capsys)
    assert f"compiled kernels: {tmp_path}" in out
    assert f"compiled kernels: {compiled.cache_folder()}" in out
    assert "gpkern threads: " in out
    assert "blas: " in out


def test_requirements_are_split():
    requirements = [
        "numpy>=1.26",
        "numba-cuda[cu12]>=0.30; extra == 'gpu'",
        'cupy-cuda13x>=14; extra == "gpu13"',
        "nvidia-cuda-nvrtc-cu12; (sys_platform == 'linux') and extra == 'test'",
        "pandas; extra == 'examples'",
        "pandas; extra == 'test'",
    ]
    expected = (["numpy"], ["nvidia-cuda-nvrtc-cu12", "pandas"])
    assert _show_versions._split(requirements) == expected


def test_source_tree_that_is_not_installed(capsys, monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert "gpkern is not installed" in shown(capsys)


def test_a_broken_part_does_not_hide_the_others(capsys, monkeypatch):
    def broken():
        raise OSError("libcuda.so.1 cannot be opened")

    monkeypatch.setattr(_show_versions, "_gpu", broken)
    out = shown(capsys)
    assert "  failed: OSError: libcuda.so.1 cannot be opened" in out
    assert "numpy: " in out


@pytest.mark.skipif(
    any(_show_versions._version(f"cupy-cuda1{n}x") for n in (2, 3)),
    reason="CuPy is installed",
)
def test_says_what_to_install_for_a_gpu(capsys):
    gpu = shown(capsys).partition("GPU:")[2]
    assert 'pip install "gpkern[gpu]"' in gpu
    assert "gpkern[gpu13]" in gpu


def test_import_loads_no_gpu_package():
    code = (
        "import sys, gpkern, gpkern._show_versions\n"
        "loaded = {'cupy', 'numba.cuda', 'gpkern.gpu'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
