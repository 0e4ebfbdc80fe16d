"""Trees of lists, tuples, dictionaries and leaves: taken apart, put together, mapped. PyTorch's torch.utils._pytree."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "SUPPORTED_NODES",
    "NodeDef",
    "TreeSpec",
    "register_pytree_node",
    "tree_all",
    "tree_any",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_map_only",
    "tree_unflatten",
]


class NodeDef(NamedTuple):
    """How nodes of a type are taken apart, into (children, context), and put together from children and context."""

    type: type[Any]
    flatten_fn: Callable[[Any], tuple[Any, Any]]
    unflatten_fn: Callable[[Any, Any], Any]


#: the types that programs have registered; lists, tuples and dictionaries are nodes without an entry
SUPPORTED_NODES: dict[type[Any], NodeDef] = {}


def register_pytree_node(
    cls: type[Any],
    flatten_fn: Callable[[Any], tuple[Any, Any]],
    unflatten_fn: Callable[[Any, Any], Any],
    **serialization: Any,
) -> None:
    """Let objects of a class be nodes: `flatten_fn(node)` gives (children, context), `unflatten_fn(children, context)`
    the node again. ValueError for a class that is one already.

    What PyTorch takes besides, by keyword, is for files of trees, which are not written here.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def _dict_flatten(d: dict[Any, Any]) -> tuple[list[Any], Any]:
    """(the values, the keys)."""
    return list(d.values()), list(d)


def _dict_unflatten(values: Any, context: Any) -> dict[Any, Any]:
    """The dictionary of these values and keys."""
    return dict(zip(context, values, strict=True))


def _dict_flatten_with_keys(d: dict[Any, Any]) -> tuple[list[tuple[Any, Any]], Any]:
    """(pairs of key and value, the keys)."""
    return list(d.items()), list(d)


class TreeSpec(NamedTuple):
    """The shape of a tree: the type of a node (None: a leaf), what it needs to be made again, its children."""

    type: Any
    context: Any
    children_specs: list[TreeSpec]

    @property
    def num_leaves(self) -> int:
        """How many leaves it has."""
        return 1 if self.type is None else sum(child.num_leaves for child in self.children_specs)


def _children(tree: Any) -> tuple[Any, list[Any]] | None:
    """(what makes the node again from its children, the children); None for a leaf."""
    kind = type(tree)
    if kind in SUPPORTED_NODES:
        children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
        return context, list(children)
    if kind in (dict, OrderedDict):
        return list(tree), list(tree.values())
    if kind is defaultdict:
        return (tree.default_factory, list(tree)), list(tree.values())
    return (
        (None, list(tree)) if kind in (list, tuple) or (isinstance(tree, tuple) and hasattr(tree, "_fields")) else None
    )


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """(the leaves from left to right, the shape of the tree)."""
    found = None if is_leaf is not None and is_leaf(tree) else _children(tree)
    if found is None:
        return [tree], TreeSpec(None, None, [])
    leaves, specs = [], []
    for child in found[1]:
        below, spec = tree_flatten(child, is_leaf)
        leaves += below
        specs.append(spec)
    return leaves, TreeSpec(type(tree), found[0], specs)


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The tree of this shape with these leaves; ValueError for another number of them."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(f"the tree has {treespec.num_leaves} leaves, got {len(leaves)}")
    return _build(iter(leaves), treespec)


def _build(leaves: Any, spec: TreeSpec) -> Any:
    kind, context = spec.type, spec.context
    if kind is None:
        return next(leaves)
    children = [_build(leaves, child) for child in spec.children_specs]
    if kind in SUPPORTED_NODES:
        return SUPPORTED_NODES[kind].unflatten_fn(children, context)
    if kind is defaultdict:
        return defaultdict(context[0], zip(context[1], children))
    if kind in (dict, OrderedDict):
        return kind(zip(context, children))
    return kind(*children) if hasattr(kind, "_fields") else kind(children)


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves from left to right."""
    return tree_flatten(tree, is_leaf)[0]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The tree with `func(leaf, ...)` for each leaf, and those at its place in other trees of the same shape."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [tree_leaves(rest, is_leaf) for rest in rests]
    if any(len(other) != len(leaves) for other in others):
        raise ValueError("the trees differ in their numbers of leaves")
    return tree_unflatten([func(*xs) for xs in zip(leaves, *others)], spec)


def tree_map_only(kind: Any, func: Callable[..., Any], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """`tree_map` for the leaves of a type; the others stay."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree, is_leaf=is_leaf)


def tree_any(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Whether `pred` holds for a leaf."""
    return any(map(pred, tree_leaves(tree)))


def tree_all(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Whether `pred` holds for all leaves."""
    return all(map(pred, tree_leaves(tree)))
