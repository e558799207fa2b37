"""Tangent kernels of modules of PyTorch, against the gradients of each row."""

import sys

import numpy as np
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gpkern import BatchSelector, EmpiricalNTK, NTKSurrogateClassifier, trak_scores
from gpkern.estimators import _tangent_blocks

torch = pytest.importorskip("torch")
nn = torch.nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 6))


class Tied(nn.Module):
    """A layer that is called twice, and whose weights are also used without it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, rows):
        rows = torch.tanh(self.a(torch.tanh(self.a(rows))))
        return self.b(rows) + nn.functional.linear(rows, self.a.weight[:2])


class Twice(nn.Module):
    """A layer called twice, in-place activations, a parameter without a layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, rows):
        return self.b(torch.relu_(self.a(torch.relu_(self.a(rows))))) * self.scale


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.read = nn.Linear(1, 8)
        self.middle = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, rows):
        return self.out(self.middle(self.read(rows[..., None])).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.out = nn.LSTM(1, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, rows):
        return self.out(self.cells(rows[..., None])[0][:, -1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(7, 4), nn.Linear(24, 3)

    def forward(self, rows):
        return self.out(self.words((rows * 3).long().clamp(0, 6)).flatten(1))


class Sorted(nn.Module):
    """Rows in another order inside, as where they are packed by their lengths."""

    def __init__(self):
        super().__init__()
        self.a, self.out = nn.Linear(6, 7), nn.Linear(7, 2)

    def forward(self, rows):
        order = rows[:, 0].argsort()
        return self.out(torch.tanh(self.a(rows[order]))[order.argsort()])


class Transposed(nn.Module):
    """A layer whose weights are used again, by what depends on them."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 4, bias=False)

    def forward(self, rows):
        return nn.functional.linear(torch.tanh(self.a(rows)), self.a.weight.T)


class Joined(nn.Module):
    """A part that is given a list, and one that runs without gradients."""

    class Join(nn.Module):
        def forward(self, parts):
            return {"joined": torch.cat(parts, 1)}

    def __init__(self):
        super().__init__()
        self.a, self.b, self.join = nn.Linear(6, 4), nn.Linear(6, 4), self.Join()
        self.out = nn.Linear(8, 2)

    def forward(self, rows):
        with torch.no_grad():
            fixed = self.b(rows)
        return self.out(torch.tanh(self.join([self.a(rows), fixed])["joined"]))


def frozen(part):
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    part(network).requires_grad_(False)
    return network


def sequential(*layers):
    return lambda: nn.Sequential(*(make() for make in layers))


def layer(kind, *args, **options):
    return lambda: kind(*args, **options)


TANH, RELU = layer(nn.Tanh), layer(nn.ReLU)
NETWORKS = {
    "dense": sequential(
        layer(nn.Linear, 6, 5),
        layer(nn.ReLU, inplace=True),
        layer(nn.Linear, 5, 4, bias=False),
        layer(nn.GELU),
        layer(nn.Linear, 4, 3),
    ),
    "one output without an axis": sequential(
        layer(nn.Linear, 6, 5), TANH, layer(nn.Linear, 5, 1), layer(nn.Flatten, 0)
    ),
    "places": sequential(
        layer(nn.Unflatten, 1, (3, 2)),
        layer(nn.Linear, 2, 8),
        TANH,
        layer(nn.Linear, 8, 8),
        layer(nn.Flatten),
        layer(nn.Linear, 24, 3),
    ),
    "convolutions": sequential(
        layer(nn.Unflatten, 1, (1, 2, 3)),
        layer(nn.Conv2d, 1, 4, 3, padding=1),
        RELU,
        layer(nn.Conv2d, 4, 4, (1, 3), groups=2, padding="same"),
        TANH,
        layer(nn.Flatten),
        layer(nn.Linear, 24, 3),
    ),
    "convolutions of one axis": sequential(
        layer(nn.Unflatten, 1, (1, 6)),
        layer(nn.Conv1d, 1, 3, 3, padding=1, stride=2, padding_mode="circular"),
        TANH,
        layer(nn.Conv1d, 3, 2, 2, dilation=2, bias=False),
        layer(nn.Flatten),
        layer(nn.Linear, 2, 2),
    ),
    "transposed convolutions": sequential(
        layer(nn.Unflatten, 1, (1, 2, 3)),
        layer(nn.ConvTranspose2d, 1, 2, 2),
        layer(nn.Flatten),
        layer(nn.Linear, 24, 2),
    ),
    "norms": sequential(
        layer(nn.Linear, 6, 5),
        layer(nn.BatchNorm1d, 5),
        RELU,
        layer(nn.Dropout, 0.5),
        layer(nn.LayerNorm, 5),
        layer(nn.Linear, 5, 3),
    ),
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)),
        nn.Tanh(),
        nn.Linear(5, 2),
    ),
    "frozen layer": lambda: frozen(lambda network: network[0]),
    "frozen weights": lambda: frozen(lambda network: network[0].weight),
    "frozen biases": lambda: frozen(lambda network: network[2].bias),
    "slopes of a rectifier": sequential(
        layer(nn.Linear, 6, 7), layer(nn.PReLU), layer(nn.Linear, 7, 8)
    ),
    "sorted": Sorted,
    "transposed": Transposed,
    "joined": Joined,
    "tied": Tied,
    "twice": Twice,
    "attention": Attention,
    "recurrent": Recurrent,
    "words": Words,
}


def made(name, dtype=torch.float64):
    torch.manual_seed(0)
    network = NETWORKS[name]().to(dtype)
    network(torch.as_tensor(X, dtype=dtype))  # batch norms learn something
    return network


def jacobian(network, rows):
    """Gradients of all outputs by all that requires one, shape (n, O, P)."""
    network.eval()
    parameters = [p for p in network.parameters() if p.requires_grad]
    slopes = []
    for row in torch.as_tensor(rows):
        F = network(row[None]).reshape(-1)
        for f in F:
            found = torch.autograd.grad(
                f, parameters, retain_graph=True, materialize_grads=True
            )
            slopes.append(torch.cat([s.reshape(-1) for s in found]).numpy())
    network.train()
    return np.reshape(slopes, (len(rows), len(F), -1))


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_are_products_of_gradients(name):
    network = made(name)
    J, Z = jacobian(network, X), X[:4]

    def kernel(kind, **options):
        return EmpiricalNTK(network, kind=kind, **options)

    full = np.einsum("icp,jdp->ijcd", J, J[:4])
    trace = np.einsum("ijcc->ij", full)
    own, pseudo = (J**2).sum(axis=(1, 2)), J.sum(axis=1) / np.sqrt(J.shape[1])
    close = {"rtol": 1e-9, "atol": 1e-11}
    assert_allclose(kernel("full").kernel(X, Z), full, **close)
    assert_allclose(kernel("trace").kernel(X, Z), trace, **close)
    assert_allclose(kernel("pseudo").kernel(X, Z), pseudo @ pseudo[:4].T, **close)
    assert_allclose(kernel("trace").diag(X), own, **close)
    blocks = np.einsum("icp,idp->icd", J, J)
    assert_allclose(kernel("full").diag(X), blocks, **close)
    assert_allclose(kernel("trace_normalized").diag(X), 1.0)
    V = RNG.normal(size=(4 * J.shape[1], 2))
    dense = full.transpose(0, 2, 1, 3).reshape(-1, len(V))
    assert_allclose(kernel("full").operator(X, Z) @ V, dense @ V, **close)
    P = kernel("projected", n_projections=4000).transform(X)
    assert np.linalg.norm(P @ P[:4].T - trace) < 0.12 * np.linalg.norm(trace)
    assert all(m.training for m in network.modules())
    assert not any(m._forward_hooks for m in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_rows_that_show_nothing():
    """Where the first rows have no gradients, what they hide is found all the same."""
    network = made("transposed")
    rows = np.concatenate([np.zeros((8, 6)), X])
    J = jacobian(network, rows)
    trace = np.einsum("icp,jcp->ij", J, J)
    assert_allclose(EmpiricalNTK(network).kernel(rows), trace, atol=1e-10)
    kernel = EmpiricalNTK(network, kind="projected", n_projections=50)
    P = kernel.transform(rows)
    assert_allclose(kernel.transform(rows[::-1])[::-1], P)
    assert_allclose(kernel.transform(rows[9:12]), P[9:12])
    torch.manual_seed(0)
    dead = nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, False))
    K = EmpiricalNTK(dead.double(), kind="trace_normalized").kernel(rows)
    assert not K[:8].any()
    assert_allclose(K[8:, 8:].diagonal(), 1.0)


def test_words_are_whole_numbers():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.Embedding(7, 4), nn.Linear(24, 3)

        def forward(self, rows):
            return self.out(self.words(rows).flatten(1))

    torch.manual_seed(0)
    network, rows = Words().double(), RNG.integers(0, 7, size=(9, 6))
    J = jacobian(network, rows)
    expected = np.einsum("icp,jcp->ij", J, J)
    assert_allclose(EmpiricalNTK(network).kernel(rows), expected, rtol=1e-9)
    found = EmpiricalNTK(network).kernel(torch.as_tensor(rows))
    assert_allclose(found.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["dense", "norms"])
def test_threads(name):
    network = made(name)
    K = EmpiricalNTK(network).kernel(X)
    found = Parallel(4, backend="threading")(
        delayed(EmpiricalNTK(network).kernel)(X) for _ in range(12)
    )
    for other in found:
        assert_array_equal(other, K)
    assert all(m.training for m in network.modules())
    assert all(isinstance(p, nn.Parameter) for p in network.parameters())


def test_probabilities_are_no_logits(images):
    rows, labels, network = images
    with_softmax = nn.Sequential(*network, nn.Softmax(1))
    with pytest.warns(UserWarning, match="returns probabilities"):
        EmpiricalNTK(with_softmax).kernel(rows[:5])
    with pytest.warns(UserWarning, match="returns probabilities"):
        surrogate = NTKSurrogateClassifier(with_softmax).fit(rows[:99], labels[:99])
    with pytest.warns(UserWarning, match="returns probabilities"):
        report = surrogate.faithfulness_report(rows[300:], labels[300:])
    with torch.no_grad():
        exact = network(torch.as_tensor(rows[300:])).argmax(1).numpy() == labels[300:]
    assert report.network_accuracy == pytest.approx(exact.mean())
    with pytest.raises(ValueError, match="not logits: leave out the softmax"):
        trak_scores(with_softmax, rows[:99], labels[:99], rows[:3], labels[:3])


def test_images_in_pools(images):
    rows, _, network = images
    features = EmpiricalNTK(network, kind="projected", n_projections=64)
    selector = BatchSelector(5, features=features).fit(rows[:50], X_train=rows[60:65])
    assert selector.samples_.shape == (5, 1, 8, 8)
    assert_array_equal(selector.samples_, rows[selector.sample_indices_])


@pytest.mark.parametrize("name", ["convolutions", "norms", "recurrent"])
def test_blocks_of_rows_and_precisions(name, monkeypatch):
    network = made(name, torch.float32)
    J = jacobian(made(name), X)
    trace = np.einsum("icp,jcp->ij", J, J)
    K = EmpiricalNTK(network).kernel(X)
    assert K.dtype == np.float32
    assert_allclose(K, trace, rtol=2e-4, atol=1e-4)
    monkeypatch.setattr(_tangent_blocks, "ARRAYS", 1e15)  # a row at a time
    assert_allclose(EmpiricalNTK(network).kernel(X), K, rtol=1e-4, atol=1e-5)


def test_hidden_layers_and_outputs():
    network = made("convolutions")
    rows = torch.as_tensor(X)
    with torch.no_grad():
        first = network[1](network[0](rows))
        second = network[3](torch.relu(first))
        last = torch.tanh(second).flatten(1)
        out = network(rows)
    kernel = EmpiricalNTK(network, kind="conjugate")
    assert_allclose(kernel.transform(X), last.numpy())
    assert_allclose(kernel.outputs(X), out.numpy())
    every = [first, torch.relu(first), second, torch.tanh(second), out]
    every = torch.cat([e.flatten(1) for e in every], dim=1).numpy()
    embedding = EmpiricalNTK(network, kind="embedding")
    assert_allclose(embedding.kernel(X), every @ every.T)


def test_rows_with_more_axes_and_tensors():
    flat = made("convolutions")
    network, images = flat[1:], X.reshape(9, 1, 2, 3)
    K = EmpiricalNTK(flat).kernel(X)
    assert_allclose(EmpiricalNTK(network).kernel(images), K)
    found = EmpiricalNTK(network).kernel(
        torch.as_tensor(images), torch.as_tensor(images)
    )
    assert isinstance(found, torch.Tensor)
    assert_allclose(found.numpy(), K)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_allclose(EmpiricalNTK(flat).kernel(X), K)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["dense", "convolutions", "norms"])
def test_on_a_gpu(name):
    import cupy

    network = made(name)
    K = EmpiricalNTK(network).kernel(X)
    F = EmpiricalNTK(network).operator(X) @ np.ones(len(X) * 3)
    network.cuda()
    assert_allclose(EmpiricalNTK(network).kernel(X), K, rtol=1e-8)
    rows = torch.as_tensor(X).cuda()
    found = EmpiricalNTK(network).kernel(rows)
    assert found.is_cuda
    assert_allclose(found.cpu().numpy(), K, rtol=1e-8)
    found = EmpiricalNTK(network, device="cuda").kernel(cupy.asarray(X))
    assert isinstance(found, cupy.ndarray)
    assert_allclose(found.get(), K, rtol=1e-8)
    assert_allclose(EmpiricalNTK(network).operator(X) @ np.ones(27), F, rtol=1e-8)
    with pytest.raises(ValueError, match="are on 'cuda:0'"):
        EmpiricalNTK(network, device="cpu").kernel(X)


@pytest.fixture(scope="module")
def images():
    """Digits 0 to 3 and a small network of convolutions that knows them."""
    rows, labels = load_digits(n_class=4, return_X_y=True)
    rows = (rows / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 4)
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    x, y = torch.as_tensor(rows[:300]), torch.as_tensor(labels[:300])
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return rows, labels, network


def speak_for(scores, labels, targets):
    """Share of targets for which rows of the same label say more than all others."""
    same = labels == targets[:, None]
    return ((scores * same).sum(axis=1) > (scores * ~same).sum(axis=1)).mean()


def test_machines_of_convolutional_networks(images):
    rows, labels, network = images
    svc = SVC(kernel=EmpiricalNTK(nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *network)))
    flat = rows.reshape(len(rows), -1)
    assert svc.fit(flat[:200], labels[:200]).score(flat[300:], labels[300:]) > 0.95
    surrogate = NTKSurrogateClassifier(network).fit(rows[:300], labels[:300])
    report = surrogate.faithfulness_report(rows[300:], labels[300:])
    assert report.agreement > 0.95 and report.kendall_tau > 0.5
    with torch.no_grad():
        exact = network(torch.as_tensor(rows[300:])).argmax(1).numpy() == labels[300:]
    assert report.network_accuracy == pytest.approx(exact.mean())
    best, _ = surrogate.attribute(rows[300:310], n_top=5)
    assert (labels[best] == surrogate.predict(rows[300:310])[:, None]).mean() > 0.9
    scores = surrogate.trak_scores(rows[300:310])
    assert scores.shape == (10, 300)
    assert speak_for(scores, labels[:300], labels[300:310]) > 0.7


def test_skorch(images):
    skorch = pytest.importorskip("skorch")
    rows, labels, _ = images
    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)),
        criterion=nn.CrossEntropyLoss,
        max_epochs=15,
        lr=0.2,
        verbose=0,
    )
    with pytest.raises(NotFittedError, match="NeuralNetClassifier, is not fitted"):
        EmpiricalNTK(net).kernel(rows)
    net.fit(rows[:300], labels[:300].astype(np.int64))
    K = EmpiricalNTK(net).kernel(rows[:5])
    assert_array_equal(K, EmpiricalNTK(net.module_).kernel(rows[:5]))
    surrogate = NTKSurrogateClassifier(net).fit(rows[:300], labels[:300])
    assert surrogate.faithfulness_report(rows[300:], labels[300:]).agreement > 0.9
    flat = rows.reshape(len(rows), -1)
    pipe = make_pipeline(StandardScaler(), net).fit(flat[:300], labels[:300])
    K = EmpiricalNTK(pipe).kernel(flat[:5])
    scaled = pipe[0].transform(flat[:5])
    assert_array_equal(K, EmpiricalNTK(net.module_).kernel(scaled))
    scores = trak_scores(pipe, flat[:300], labels[:300], flat[300:305], labels[300:305])
    assert speak_for(scores, labels[:300], labels[300:305]) > 0.7


class Beside(nn.Module):
    """Rows are centred by those beside them."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 2)

    def forward(self, rows):
        return self.a(rows - rows.mean(0))


class Rounded(nn.Module):
    """Parameters that no gradient reaches."""

    def __init__(self):
        super().__init__()
        self.a, self.scale = nn.Linear(6, 2), nn.Parameter(torch.ones(2))

    def forward(self, rows):
        return self.a(rows) * float(self.scale.sum().item())


class Turned(nn.Module):
    """Places before rows, inside."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 4)

    def forward(self, rows):
        return self.a(rows.transpose(0, 1)).transpose(0, 1)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 2)

    def forward(self, rows):
        return self.a(rows), rows


def test_bad_input(images, monkeypatch):
    rows, labels, network = images
    half = nn.Linear(6, 2).half()
    mixed = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 2).double())
    fixed = nn.Linear(6, 2).requires_grad_(False)
    for module, error, message in (
        (Beside(), ValueError, "a row beside another one than of it alone"),
        (Two(), TypeError, "estimator returns tuple for 8 rows"),
        (half, ValueError, r"of torch.float16: convert it by estimator.float\(\)"),
        (mixed, ValueError, "on devices and of types"),
        (fixed, ValueError, "no parameter that requires a gradient"),
        (nn.Linear, TypeError, "no network whose layers can be read"),
    ):
        with pytest.raises(error, match=message):
            EmpiricalNTK(module).kernel(X)
    with pytest.raises(ValueError, match=r"Linear, does not take rows of shape \(6,\)"):
        EmpiricalNTK(nn.Linear(5, 2)).kernel(X)
    with pytest.raises(TypeError, match="is a ScriptModule"):
        EmpiricalNTK(torch.jit.script(nn.Linear(6, 2))).kernel(X)
    batches = nn.Sequential(
        nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)
    )
    with pytest.raises(ValueError, match="a row beside another one than of it alone"):
        EmpiricalNTK(batches).kernel(X)
    turned = nn.Sequential(nn.Unflatten(1, (3, 2)), Turned(), nn.Flatten())
    with pytest.raises(ValueError, match=r"a row for each row, and .* has Linear"):
        EmpiricalNTK(turned, kind="conjugate").transform(X)
    with pytest.raises(ValueError, match="NaN"):
        EmpiricalNTK(network).kernel(np.full((2, 1, 8, 8), np.nan))
    some, names = labels < 3, np.array(["zero", "one", "two"])
    with pytest.raises(ValueError, match="estimator has 4 outputs, and y 3 classes"):
        NTKSurrogateClassifier(network).fit(rows[some], names[labels[some]])
    with pytest.raises(ValueError, match=r"fitted to \[0, 1, 2, 3\]"):
        NTKSurrogateClassifier(network).fit(rows[some], labels[some])
    scores = trak_scores(network, rows[some], labels[some], rows[:3], labels[:3])
    assert scores.shape == (3, some.sum())
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install gpkern\[torch\]"):
        EmpiricalNTK(network).kernel(rows)


def test_layers_that_cannot_be_handled_are_named():
    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(context, rows, scale):
            return rows * scale

        @staticmethod
        def backward(context, slope):
            raise NotImplementedError("no slopes here")

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, rows):
            return Refusing.apply(rows, self.scale)

    network = nn.Sequential(nn.Linear(6, 2), Scale())
    with pytest.raises(TypeError, match=r"cannot be handled: 1 \(Scale\).*no slopes"):
        EmpiricalNTK(network).kernel(X)
