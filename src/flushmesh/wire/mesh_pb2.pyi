from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FollowerMessage(_message.Message):
    __slots__ = ("hello", "ping", "ack")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ping: Ping
    ack: Ack
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ...) -> None: ...

class OriginMessage(_message.Message):
    __slots__ = ("welcome", "batch", "truncated", "vouch", "leave")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    VOUCH_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    batch: Batch
    truncated: Truncated
    vouch: Vouch
    leave: Leave
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., truncated: _Optional[_Union[Truncated, _Mapping]] = ..., vouch: _Optional[_Union[Vouch, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "name", "address")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    name: str
    address: str
    def __init__(self, id: _Optional[bytes] = ..., name: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class News(_message.Message):
    __slots__ = ("node", "reached")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    node: Node
    reached: bool
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., reached: bool = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "mesh", "node", "origin_id", "cursor", "max_staleness", "known", "lost_after")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    LOST_AFTER_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    mesh: str
    node: Node
    origin_id: bytes
    cursor: int
    max_staleness: float
    known: _containers.RepeatedCompositeFieldContainer[News]
    lost_after: float
    def __init__(self, protocol: _Optional[int] = ..., mesh: _Optional[str] = ..., node: _Optional[_Union[Node, _Mapping]] = ..., origin_id: _Optional[bytes] = ..., cursor: _Optional[int] = ..., max_staleness: _Optional[float] = ..., known: _Optional[_Iterable[_Union[News, _Mapping]]] = ..., lost_after: _Optional[float] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("node", "head", "known")
    NODE_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    node: Node
    head: int
    known: _containers.RepeatedCompositeFieldContainer[News]
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., head: _Optional[int] = ..., known: _Optional[_Iterable[_Union[News, _Mapping]]] = ...) -> None: ...

class Flush(_message.Message):
    __slots__ = ("cache", "key", "tag", "version")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    tag: str
    version: int
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., tag: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("first", "flushes", "acknowledge")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    FLUSHES_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    first: int
    flushes: _containers.RepeatedCompositeFieldContainer[Flush]
    acknowledge: bool
    def __init__(self, first: _Optional[int] = ..., flushes: _Optional[_Iterable[_Union[Flush, _Mapping]]] = ..., acknowledge: bool = ...) -> None: ...

class Truncated(_message.Message):
    __slots__ = ("head",)
    HEAD_FIELD_NUMBER: _ClassVar[int]
    head: int
    def __init__(self, head: _Optional[int] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("clock", "cursor")
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    clock: float
    cursor: int
    def __init__(self, clock: _Optional[float] = ..., cursor: _Optional[int] = ...) -> None: ...

class Vouch(_message.Message):
    __slots__ = ("clock", "head", "known", "known_changed")
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    KNOWN_CHANGED_FIELD_NUMBER: _ClassVar[int]
    clock: float
    head: int
    known: _containers.RepeatedCompositeFieldContainer[News]
    known_changed: bool
    def __init__(self, clock: _Optional[float] = ..., head: _Optional[int] = ..., known: _Optional[_Iterable[_Union[News, _Mapping]]] = ..., known_changed: bool = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("cursor",)
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    def __init__(self, cursor: _Optional[int] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ("head", "known")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    head: int
    known: _containers.RepeatedCompositeFieldContainer[News]
    def __init__(self, head: _Optional[int] = ..., known: _Optional[_Iterable[_Union[News, _Mapping]]] = ...) -> None: ...
