"""Values of all kinds as JSON, with containers shared between the two processes.

A message holds its values and those shared containers that changed since the other side saw them. A
container is refilled in place when it arrives, so aliases, cycles and arguments that a call changes need no
special case, in either direction. No pickle.
"""

import base64
import collections
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

from common.sandbox.proxies.channel import Gone, Unsupported
from common.sandbox.proxies.names import UnknownName, name_of, standard_class, standard_object
from common.sandbox.proxies.values import decode_leaf, encode_leaf

_CONTAINERS: dict[type, str] = {
    list: "list",
    dict: "dict",
    set: "set",
    bytearray: "bytearray",
    collections.deque: "deque",
    collections.OrderedDict: "ordered",
    collections.defaultdict: "defaultdict",
    collections.Counter: "counter",
    collections.ChainMap: "chain",
    collections.UserDict: "userdict",
    collections.UserList: "userlist",
    types.SimpleNamespace: "namespace",
}
_CLASSES = {name: kind for kind, name in _CONTAINERS.items()}
_PAIRS = ("dict", "ordered", "counter", "defaultdict")
_VIEWS: dict[type, str] = {}
for _empty in ({}, collections.OrderedDict()):
    _VIEWS |= {type(_empty.keys()): "keys", type(_empty.values()): "values", type(_empty.items()): "items"}

_FEW = 16

# Bound now: a program may replace the builtins of its own process.
_type, _id, _getrefcount, _len, _list = type, id, sys.getrefcount, len, list


class Heap:
    """One side's values on the wire. Ids of containers that this side made first are `first_id`, +2, +4, ...

    `foreign(value)` encodes what is no value here; `local(node)` decodes what the other side's `foreign` wrote.
    """

    def __init__(self, first_id: int, foreign: Callable[[Any], list[Any]], local: Callable[[list[Any]], Any]) -> None:
        self._foreign, self._local = foreign, local
        self._next_id = first_id
        self._shared: dict[str, Any] = {}
        self._ids: dict[int, str] = {}  # by id() of the container
        self._seen: dict[str, Any] = {}  # what the other side knows of each
        self._encoded: dict[str, Any] = {}  # in the message that is being written
        self._unwritten: list[str] = []  # shared, but not in that message yet

    def pack(self, *values: Any) -> tuple[list[Any], dict[str, Any]]:
        """Encoded values, and the shared containers that changed. Raises: Unsupported."""
        self._encoded, self._unwritten = {}, _list(self._shared)
        nodes = [self.encode(value) for value in values]
        while self._unwritten:  # a list, not recursion: containers nest deeper than any stack
            shared_id = self._unwritten.pop()
            if shared_id not in self._encoded:
                self._encoded[shared_id] = self._shallow(self._shared[shared_id])
        seen, written = self._seen, self._encoded
        changed = {key: node for key, node in written.items() if seen.get(key) != node}
        seen.update(changed)
        return nodes, changed

    def unpack(self, nodes: list[Any], changed: dict[str, Any]) -> list[Any]:
        """The values of a message. Raises: Gone for what no sandbox would write; Unsupported."""
        try:
            for shared_id, node in changed.items():
                if shared_id not in self._shared:
                    container = _new_container(node)
                    self._shared[shared_id] = container
                    self._ids[_id(container)] = shared_id
                    del container  # a name that stays would keep what only this table holds
            self._seen.update(changed)
            for shared_id, node in changed.items():
                self._fill(self._shared[shared_id], node)
            return [self.decode(node) for node in nodes]
        except MemoryError:
            raise Unsupported("a value is too large to pass on") from None
        except Exception as error:
            raise Gone(f"a message that no sandbox writes: {error!r:.100}") from error

    def drop(self, shared_ids: list[str]) -> None:
        """Forget containers that the other side has let go."""
        for shared_id in shared_ids:
            if shared_id in self._shared:
                self._ids.pop(_id(self._shared.pop(shared_id)), None)
                self._seen.pop(shared_id, None)

    def drop_unheld(self) -> list[str]:
        """Forget the containers that only this table holds; their ids, for the other side to do the same."""
        dropped = []
        for shared_id in _list(self._shared):
            if _getrefcount(self._shared[shared_id]) <= 2:  # this table, and the argument
                dropped.append(shared_id)
                self.drop([shared_id])
        return dropped

    def encode(self, value: Any) -> Any:
        """One value inside the message that is being written; `foreign` calls it for what a node holds."""
        kind = _type(value)
        leaf = encode_leaf(value, kind)
        if leaf is not None:
            return leaf
        if kind is tuple:
            return ["tuple", [self.encode(item) for item in value]]
        if kind is frozenset:
            return ["frozenset", [self.encode(item) for item in value]]
        if kind in _CONTAINERS or _is_array(kind):
            return ["shared", self._share(value)]
        if kind in _VIEWS:
            return [_VIEWS[kind], [self.encode(item) for item in value]]
        if kind is slice:
            return ["slice", [self.encode(part) for part in (value.start, value.stop, value.step)]]
        if kind is types.MappingProxyType:
            return ["mapping", self.encode(dict(value))]
        name = name_of(value)
        if name is not None:
            return ["name", *name]
        member = _enum_member(value, kind)
        return member if member is not None else self._foreign(value)

    def _share(self, container: Any) -> str:
        shared_id = self._ids.get(_id(container))
        if shared_id is None:
            shared_id = str(self._next_id)
            self._next_id += 2
            self._shared[shared_id] = container
            self._ids[_id(container)] = shared_id
            self._unwritten.append(shared_id)
        return shared_id

    def _shallow(self, container: Any) -> list[Any]:
        """A container's own level; containers in it are shared themselves."""
        encode = self.encode
        kind = _CONTAINERS.get(_type(container))
        if kind in ("list", "set"):
            return [kind, [encode(item) for item in container]]
        if kind in _PAIRS:
            pairs = [[encode(key), encode(item)] for key, item in container.items()]
            return [kind, pairs, encode(container.default_factory)] if kind == "defaultdict" else [kind, pairs]
        if kind == "deque":
            return [kind, [encode(item) for item in container], encode(container.maxlen)]
        if kind == "bytearray":
            return [kind, container.hex()]
        if kind == "namespace":
            return [kind, [[encode(key), encode(item)] for key, item in vars(container).items()]]
        if kind == "chain":
            return [kind, [encode(item) for item in container.maps]]
        if kind in ("userdict", "userlist"):
            return [kind, encode(container.data)]
        return self._shallow_array(container)

    def _shallow_array(self, array: Any) -> list[Any]:
        if array.dtype.hasobject:
            return ["objects", _list(array.shape), [self.encode(item) for item in array.ravel().tolist()]]
        if array.dtype.names:
            raise Unsupported("a structured array")
        description = sys.modules["numpy"].lib.format.dtype_to_descr(array.dtype)
        return ["array", _list(array.shape), base64.b64encode(array.tobytes()).decode(), description]

    def _fill(self, container: Any, node: list[Any]) -> None:
        decode, kind = self.decode, node[0]
        if _CONTAINERS.get(_type(container), "") != kind and kind not in ("array", "objects"):
            raise Gone("a container that changed its class")
        if kind == "list":
            container[:] = [decode(item) for item in node[1]]
        elif kind in ("set", "deque"):
            items = [decode(item) for item in node[1]]
            container.clear()
            container.update(inserted_as(items)) if kind == "set" else container.extend(items)
        elif kind in _PAIRS:
            pairs = [(decode(key), decode(item)) for key, item in node[1]]
            container.clear()
            for key, item in pairs:
                container[key] = item
            if kind == "defaultdict":
                container.default_factory = decode(node[2])
        elif kind == "bytearray":
            container[:] = bytes.fromhex(node[1])
        elif kind == "namespace":
            vars(container).clear()
            vars(container).update({decode(key): decode(item) for key, item in node[1]})
        elif kind == "chain":
            container.maps[:] = [decode(item) for item in node[1]]
        elif kind in ("userdict", "userlist"):
            container.data = decode(node[1])
        else:
            self._fill_array(container, node)

    def _fill_array(self, array: Any, node: list[Any]) -> None:
        import numpy

        if _list(array.shape) != node[1]:
            raise Unsupported("an array that changed its shape in place")
        if node[0] == "objects":
            items = numpy.empty(array.size, object)
            for position, item in enumerate(node[2]):
                items[position] = self.decode(item)
            array[...] = items.reshape(array.shape)
        else:
            array[...] = numpy.frombuffer(base64.b64decode(node[2]), array.dtype).reshape(array.shape)

    def decode(self, node: Any) -> Any:
        """One value inside the message that is being read; `local` calls it for what a node holds."""
        if _type(node) is int:
            return node
        if _type(node) is str:
            return {"N": None, "T": True, "F": False}[node]
        tag = node[0]
        rebuild = decode_leaf(tag)
        if rebuild is not None:
            return rebuild(*node[1:])
        if tag == "shared":
            return self._shared[node[1]]
        if tag == "name":
            return standard_object(node[1], node[2])
        if tag in _REBUILD:
            return _REBUILD[tag]([self.decode(item) for item in node[1]])
        if tag == "mapping":
            return types.MappingProxyType(self.decode(node[1]))
        if tag == "member":
            return _named_member(*node[1:])
        return self._local(node)


_REBUILD: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "frozenset": lambda items: frozenset(inserted_as(items)),
    "keys": lambda items: dict.fromkeys(items).keys(),
    "values": lambda items: dict(enumerate(items)).values(),
    "items": lambda items: dict(items).items(),
    "slice": lambda parts: slice(*parts),
}


def inserted_as(items: list[Any]) -> list[Any]:
    """An order of insertion that gives a set the order of iteration that `items` came in, or else `items`.

    A set that was built in another order can hold an item outside the slot of its hash; a test may show the order.
    """
    orders = [items, items[::-1], _own_slots_first(items), _own_slots_first(items[::-1])]
    if len(items) <= _FEW:  # among few, one that took the slot of others decides most
        orders += [[items[n], *items[:n], *items[n + 1 :]] for n in range(len(items))]
    for order in orders:
        if all(map(operator.is_, set(order), items)):
            return order
    return items


def _own_slots_first(items: list[Any]) -> list[Any]:
    mask = 7
    while 5 * len(items) >= 3 * mask:  # CPython's growth of a set to which items are added one by one
        mask = 4 * mask + 3
    seated: list[Any] = []
    others: list[Any] = []
    last = -1
    for item in items:
        slot = hash(item) & mask
        (seated if slot > last else others).append(item)
        last = max(last, slot)
    return seated + others


def _is_array(kind: type) -> bool:
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def _new_container(node: list[Any]) -> Any:
    kind = node[0]
    if kind == "deque":
        return collections.deque(maxlen=node[2] if type(node[2]) is int else None)
    if kind not in ("array", "objects"):
        return _CLASSES[kind]()
    import numpy

    dtype = object if kind == "objects" else numpy.dtype(str(node[3]))
    return numpy.empty(node[1], dtype)


def _enum_member(value: Any, kind: type) -> list[Any] | None:
    """A member of a standard module's Enum, by its name."""
    if "enum" not in sys.modules or not isinstance(value, sys.modules["enum"].Enum):
        return None
    name = name_of(kind)
    return ["member", *name, value.name] if name is not None else None


def _named_member(module: str, qualified_name: str, member: str) -> Any:
    import enum

    kind = standard_class(f"{module}.{qualified_name}", enum.Enum)
    if member not in kind.__members__:  # type: ignore[attr-defined]
        raise UnknownName(f"{module}.{qualified_name}.{member}")
    return kind[member]  # type: ignore[index]
