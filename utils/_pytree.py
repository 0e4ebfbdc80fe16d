"""Trees of lists, tuples, dictionaries and leaves: taken apart, put together, mapped. PyTorch's torch.utils._pytree."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "SUPPORTED_NODES",
    "LeafSpec",
    "NodeDef",
    "PyTree",
    "TreeSpec",
    "register_pytree_node",
    "tree_all",
    "tree_any",
    "tree_flatten",
    "tree_is_leaf",
    "tree_leaves",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_structure",
    "tree_unflatten",
]

PyTree: TypeAlias = Any


class NodeDef(NamedTuple):
    """How nodes of a type are taken apart, into (children, context), and put together from children and context."""

    type: type[Any]
    flatten_fn: Callable[[Any], tuple[Any, Any]]
    unflatten_fn: Callable[[Any, Any], Any]


#: the types of nodes; all named tuples are under `collections.namedtuple`
SUPPORTED_NODES: dict[Any, NodeDef] = {}


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


def _list_flatten(d: list[Any]) -> tuple[list[Any], Any]:
    """(the elements, None)."""
    return list(d), None


def _list_unflatten(values: Any, context: Any) -> list[Any]:
    """The list of these elements."""
    return list(values)


def _tuple_flatten(d: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """(the elements, None)."""
    return list(d), None


def _tuple_unflatten(values: Any, context: Any) -> tuple[Any, ...]:
    """The tuple of these elements."""
    return tuple(values)


def _namedtuple_flatten(d: Any) -> tuple[list[Any], Any]:
    """(the elements, the class)."""
    return list(d), type(d)


def _namedtuple_unflatten(values: Any, context: Any) -> Any:
    """The named tuple of these elements, of the class."""
    return context(*values)


def _dict_flatten(d: dict[Any, Any]) -> tuple[list[Any], Any]:
    """(the values, the keys)."""
    return list(d.values()), list(d)


def _dict_unflatten(values: Any, context: Any) -> dict[Any, Any]:
    """The dictionary of these values and keys."""
    return dict(zip(context, values, strict=True))


def _dict_flatten_with_keys(d: dict[Any, Any]) -> tuple[list[tuple[Any, Any]], Any]:
    """(pairs of key and value, the keys)."""
    return list(d.items()), list(d)


SUPPORTED_NODES |= {
    node.type: node
    for node in (
        NodeDef(list, _list_flatten, _list_unflatten),
        NodeDef(tuple, _tuple_flatten, _tuple_unflatten),
        NodeDef(namedtuple, _namedtuple_flatten, _namedtuple_unflatten),  # type: ignore[arg-type]
        NodeDef(dict, _dict_flatten, _dict_unflatten),
        NodeDef(OrderedDict, _dict_flatten, lambda children, context: OrderedDict(zip(context, children))),
        NodeDef(
            defaultdict,
            lambda node: (list(node.values()), (node.default_factory, list(node))),
            lambda children, context: defaultdict(context[0], zip(context[1], children)),
        ),
        NodeDef(deque, lambda node: (list(node), node.maxlen), lambda children, context: deque(children, context)),
    )
}


def _get_node_type(tree: Any) -> Any:
    """The key of a node in SUPPORTED_NODES, if it is one."""
    kind = type(tree)
    if kind not in SUPPORTED_NODES and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return namedtuple
    return kind


class TreeSpec:
    """The shape of a tree: the type of a node (None: a leaf), what it needs to be made again, its children."""

    __slots__ = ("children_specs", "context", "num_children", "num_leaves", "num_nodes", "type")

    def __init__(self, type: Any, context: Any, children_specs: list[TreeSpec]) -> None:
        self.type, self.context, self.children_specs = type, context, children_specs
        self.num_children = len(children_specs)
        self.num_leaves: int = 1 if type is None else sum([child.num_leaves for child in children_specs])
        self.num_nodes: int = 1 + sum([child.num_nodes for child in children_specs])

    def is_leaf(self) -> bool:
        """Whether it is the shape of a leaf."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """The shapes of the children."""
        return list(self.children_specs)

    def child(self, index: int) -> TreeSpec:
        """The shape of one child."""
        return self.children_specs[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeSpec):
            return NotImplemented
        mine = (self.type, self.context, self.children_specs)
        return mine == (other.type, other.context, other.children_specs)

    def __hash__(self) -> int:
        return hash((self.type, str(self.context), tuple(self.children_specs)))

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        below = ",\n".join(map(repr, self.children_specs)).replace("\n", "\n  ")
        return f"TreeSpec({self.type.__name__}, {self.context}, [{below}])"


class LeafSpec(TreeSpec):
    """The shape of a leaf."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None, None, [])


def tree_is_leaf(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether it is no node, or `is_leaf` says that it is a leaf."""
    return (is_leaf is not None and is_leaf(tree)) or _get_node_type(tree) not in SUPPORTED_NODES


_is_leaf = tree_is_leaf


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """(the leaves from left to right, the shape of the tree)."""
    if tree_is_leaf(tree, is_leaf):
        return [tree], LeafSpec()
    kind = _get_node_type(tree)
    children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
    leaves, specs = [], []
    for child in children:
        below, spec = tree_flatten(child, is_leaf)
        leaves += below
        specs.append(spec)
    return leaves, TreeSpec(kind, context, specs)


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The tree of this shape with these leaves; ValueError for another number of them."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(f"the tree has {treespec.num_leaves} leaves, got {len(leaves)}")
    return _build(iter(leaves), treespec)


def _build(leaves: Any, spec: TreeSpec) -> Any:
    if spec.type is None:
        return next(leaves)
    children = [_build(leaves, child) for child in spec.children_specs]
    return SUPPORTED_NODES[spec.type].unflatten_fn(children, spec.context)


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The shape of the tree."""
    return tree_flatten(tree, is_leaf)[1]


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


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """`func(leaf, ...)` for each leaf, for what it does to it; the tree itself is returned."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(kind: Any, func: Callable[..., Any], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """`tree_map` for the leaves of a type; the others stay."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree, is_leaf=is_leaf)


def tree_any(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Whether `pred` holds for a leaf."""
    return any(map(pred, tree_leaves(tree)))


def tree_all(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Whether `pred` holds for all leaves."""
    return all(map(pred, tree_leaves(tree)))
