import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedprivacy.errors import ConfigurationError
from fedprivacy.vector import Layout

# 64-bit whole numbers beyond 2**53 are not exact in float64: they have a test of their own.
DTYPES = ["f2", "f4", "f8", ">f4", "<f8", "i1", "i2", "i4", "u1", "u2", "u4", "?"]


@st.composite
def arrays(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    elements = {}
    if dtype.kind == "f":
        elements = {"allow_nan": False, "allow_infinity": False}
    return draw(hnp.arrays(dtype, shape, elements=elements))


trees = st.recursive(
    arrays(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=6,
)


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for child in tree for leaf in leaves(child)]
    return [tree]


def same(left, right):
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if type(left) is not type(right) or len(left) != len(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return all(same(a, b) for a, b in zip(left, right, strict=True))


@given(trees)
def test_a_structure_survives_the_round_trip(tree):
    size = sum(leaf.size for leaf in leaves(tree))
    if not size:
        with pytest.raises(ConfigurationError, match="model holds 0 values"):
            Layout.of(tree)
        return
    layout = Layout.of(tree)
    vector = layout.flatten(tree)
    assert layout.length == size
    assert vector.dtype == layout.dtype
    assert vector.shape == (size,)
    assert same(layout.unflatten(vector), tree)
    paths = [path for path, _, _ in layout.describe()]
    assert len(set(paths)) == len(paths) == len(leaves(tree))


@given(trees, st.randoms())
def test_the_order_of_insertion_does_not_matter(tree, random):
    def shuffled(node):
        if isinstance(node, dict):
            keys = list(node)
            random.shuffle(keys)
            return {key: shuffled(node[key]) for key in keys}
        return type(node)(map(shuffled, node)) if isinstance(node, list | tuple) else node

    if not sum(leaf.size for leaf in leaves(tree)):
        return
    other = shuffled(tree)
    assert Layout.of(other) == Layout.of(tree)
    assert np.array_equal(Layout.of(tree).flatten(other), Layout.of(tree).flatten(tree))


def test_values_lie_in_the_order_of_the_sorted_keys():
    tree = {"b": np.array([[1.0, 2.0], [3.0, 4.0]]), "a": [np.float32(5), np.array(True)]}
    layout = Layout.of(tree)
    assert layout.flatten(tree).tolist() == [5.0, 1.0, 1.0, 2.0, 3.0, 4.0]
    assert layout.describe() == (
        ("model.a[0]", "float32", ()),
        ("model.a[1]", "bool", ()),
        ("model.b", "float64", (2, 2)),
    )


def test_paths_of_keys_with_dots_stay_distinct_from_nested_ones():
    flat = Layout.of({"a.b": np.zeros(1)})
    nested = Layout.of({"a": {"b": np.zeros(1)}})
    assert flat.describe() == (('model["a.b"]', "float64", (1,)),)
    assert nested.describe() == (("model.a.b", "float64", (1,)),)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("i1", [0.5, 1.5, -0.5, -1.6, 127.4, 1e300, -1e300], [0, 2, 0, -2, 127, 127, -128]),
        ("u1", [-1.0, 255.4, 256.0, 2.5, -1e300, 0.0, 1.0], [0, 255, 255, 2, 0, 0, 1]),
        ("?", [0.5, 0.51, -3.0, 2.0, 0.49, 1e300, -0.0], [0, 1, 0, 1, 0, 1, 0]),
        (
            "i8",
            [2.0**63, -(2.0**63), 1e300, -1e300, 2.0**62, 2.0**63 - 1024, -0.0],
            [2**63 - 1, -(2**63), 2**63 - 1, -(2**63), 2**62, 2**63 - 1024, 0],
        ),
        (
            "u8",
            [2.0**64, -1.0, 1e300, 2.0**63, 2.0**64 - 2048, 0.4, 0.6],
            [2**64 - 1, 0, 2**64 - 1, 2**63, 2**64 - 2048, 0, 1],
        ),
    ],
)
def test_whole_numbers_come_back_rounded_and_in_range(dtype, values, expected):
    layout = Layout.of([np.zeros(7, dtype=dtype)])
    (back,) = layout.unflatten(np.array(values))
    assert back.dtype == np.dtype(dtype)
    assert back.tolist() == expected


def test_reals_come_back_in_range():
    layout = Layout.of({"half": np.zeros(2, "f2"), "single": np.zeros(2, "f4")})
    back = layout.unflatten(np.array([1e300, -1e300, 1e300, -1e300]))
    assert back["half"].tolist() == [65504.0, -65504.0]
    assert back["single"].tolist() == [np.finfo("f4").max, np.finfo("f4").min]


def refusal(call, *arguments):
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert ": " in text  # what is wrong, then the remedy
    return text


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({}, "model holds 0 values"),
        ([], "model holds 0 values"),
        ({"a": [np.zeros(0)]}, "model holds 0 values"),
        ({"a": np.zeros(2, complex)}, "model.a is complex128"),
        ({"a": np.array(["x"])}, "model.a is <U1"),
        ({"a": np.array([None])}, "model.a is object"),
        ({"a": np.zeros(1, "M8[s]")}, "model.a is datetime64[s]"),
        ({"a": 1.0}, "model.a is a float where an array is wanted"),
        ({"a": [np.zeros(1), None]}, "model.a[1] is a NoneType where an array is wanted"),
        ({3: np.zeros(1)}, "model has the key 3 where a string is wanted"),
    ],
)
def test_what_cannot_be_flattened_is_named(tree, words):
    assert words in refusal(Layout.of, tree)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no wider type here")
def test_more_than_64_bits_are_refused():
    text = refusal(Layout.of, {"a": np.zeros(1, np.longdouble)})
    assert "where real numbers of at most 64 bits are wanted" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(value):
    tree = {"layer1": {"weight": np.array([0.0, 1.0, 2.0, value])}, "z": np.zeros((2, 2))}
    text = refusal(Layout.of(tree).flatten, tree)
    assert text.startswith(f"model.layer1.weight[3] is {value} where")
    tree["layer1"]["weight"][3] = 0
    tree["z"][1, 0] = value
    assert refusal(Layout.of(tree).flatten, tree).startswith(f"model.z[1][0] is {value} where")
    vector = np.array([0, value, 0, 0, 0, 0, 0, 0])
    assert refusal(Layout.of(tree).unflatten, vector).startswith(f"vector[1] is {value} where")


def test_another_model_than_the_layouts_is_refused():
    layout = Layout.of({"a": np.zeros((2, 3)), "b": (np.zeros(1), np.zeros(1))})
    fits = {"a": np.zeros((2, 3)), "b": (np.zeros(1), np.zeros(1))}
    assert layout.flatten(fits).shape == (8,)
    for change, words in [
        ({"a": np.zeros((3, 2))}, "model.a is float64 of shape (3, 2) where the layout has"),
        ({"a": np.zeros((2, 3), "f4")}, "model.a is float32 of shape (2, 3)"),
        ({"b": [np.zeros(1), np.zeros(1)]}, "model.b is a list where the layout has a tuple"),
        ({"b": (np.zeros(1),)}, "model.b has 1 entries where the layout has 2"),
        ({"c": np.zeros(1)}, "model has keys ['a', 'b', 'c'] where the layout has ['a', 'b']"),
        ({"a": {}}, "model.a is a dict where an array is wanted"),
    ]:
        assert words in refusal(layout.flatten, {**fits, **change})
    assert "where float32 or float64 of shape (8,)" in refusal(layout.unflatten, np.zeros(7))
    assert "the vector is float16" in refusal(layout.unflatten, np.zeros(8, "f2"))


def test_what_comes_back_shares_no_memory_with_the_vector():
    layout = Layout.of([np.zeros(3)])
    vector = np.arange(3.0)
    (array,) = layout.unflatten(vector)
    array[:] = 9
    assert vector.tolist() == [0, 1, 2]
