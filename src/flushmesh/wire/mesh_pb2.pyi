from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Message(_message.Message):
    __slots__ = ("hello", "welcome", "refusal", "follow", "batch", "truncated", "ping", "vouch", "ack", "leave")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    VOUCH_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    welcome: Welcome
    refusal: Refusal
    follow: Follow
    batch: Batch
    truncated: Truncated
    ping: Ping
    vouch: Vouch
    ack: Ack
    leave: Leave
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., follow: _Optional[_Union[Follow, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., truncated: _Optional[_Union[Truncated, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., vouch: _Optional[_Union[Vouch, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "name", "address")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    name: str
    address: str
    def __init__(self, id: _Optional[bytes] = ..., name: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "mesh", "node", "max_staleness", "give_up_after")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    GIVE_UP_AFTER_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    mesh: str
    node: Node
    max_staleness: float
    give_up_after: float
    def __init__(self, protocol: _Optional[int] = ..., mesh: _Optional[str] = ..., node: _Optional[_Union[Node, _Mapping]] = ..., max_staleness: _Optional[float] = ..., give_up_after: _Optional[float] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("node", "max_staleness", "give_up_after")
    NODE_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    GIVE_UP_AFTER_FIELD_NUMBER: _ClassVar[int]
    node: Node
    max_staleness: float
    give_up_after: float
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., max_staleness: _Optional[float] = ..., give_up_after: _Optional[float] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("why", "reason")
    class Why(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Refusal.Why]
        MESH: _ClassVar[Refusal.Why]
        VERSION: _ClassVar[Refusal.Why]
        NAMESAKE: _ClassVar[Refusal.Why]
        FULL: _ClassVar[Refusal.Why]
        LEAVING: _ClassVar[Refusal.Why]
        GONE: _ClassVar[Refusal.Why]
    UNKNOWN: Refusal.Why
    MESH: Refusal.Why
    VERSION: Refusal.Why
    NAMESAKE: Refusal.Why
    FULL: Refusal.Why
    LEAVING: Refusal.Why
    GONE: Refusal.Why
    WHY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    why: Refusal.Why
    reason: str
    def __init__(self, why: _Optional[_Union[Refusal.Why, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Follow(_message.Message):
    __slots__ = ("cursor", "known", "age")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    known: bytes
    age: float
    def __init__(self, cursor: _Optional[int] = ..., known: _Optional[bytes] = ..., age: _Optional[float] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("cache", "key", "tag", "met", "gone", "lost", "version")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    tag: str
    met: Met
    gone: Gone
    lost: bytes
    version: int
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., tag: _Optional[str] = ..., met: _Optional[_Union[Met, _Mapping]] = ..., gone: _Optional[_Union[Gone, _Mapping]] = ..., lost: _Optional[bytes] = ..., version: _Optional[int] = ...) -> None: ...

class Met(_message.Message):
    __slots__ = ("node", "direct")
    NODE_FIELD_NUMBER: _ClassVar[int]
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    node: Node
    direct: bool
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., direct: bool = ...) -> None: ...

class Gone(_message.Message):
    __slots__ = ("id", "flushes")
    ID_FIELD_NUMBER: _ClassVar[int]
    FLUSHES_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    flushes: int
    def __init__(self, id: _Optional[bytes] = ..., flushes: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("first", "records", "acknowledge")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    first: int
    records: _containers.RepeatedCompositeFieldContainer[Record]
    acknowledge: bool
    def __init__(self, first: _Optional[int] = ..., records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., acknowledge: bool = ...) -> None: ...

class Known(_message.Message):
    __slots__ = ("node", "reached")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    node: Node
    reached: bool
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., reached: bool = ...) -> None: ...

class Truncated(_message.Message):
    __slots__ = ("head", "flushes", "members", "same_members", "complete")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    FLUSHES_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SAME_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    head: int
    flushes: int
    members: _containers.RepeatedCompositeFieldContainer[Known]
    same_members: bool
    complete: bool
    def __init__(self, head: _Optional[int] = ..., flushes: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Known, _Mapping]]] = ..., same_members: bool = ..., complete: bool = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("clock", "cursor", "had")
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    HAD_FIELD_NUMBER: _ClassVar[int]
    clock: float
    cursor: int
    had: float
    def __init__(self, clock: _Optional[float] = ..., cursor: _Optional[int] = ..., had: _Optional[float] = ...) -> None: ...

class Unreached(_message.Message):
    __slots__ = ("id", "age", "hearsay")
    ID_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    HEARSAY_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    age: float
    hearsay: bool
    def __init__(self, id: _Optional[bytes] = ..., age: _Optional[float] = ..., hearsay: bool = ...) -> None: ...

class Vouch(_message.Message):
    __slots__ = ("clock", "head", "given", "unreached", "unreached_changed")
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    UNREACHED_FIELD_NUMBER: _ClassVar[int]
    UNREACHED_CHANGED_FIELD_NUMBER: _ClassVar[int]
    clock: float
    head: int
    given: float
    unreached: _containers.RepeatedCompositeFieldContainer[Unreached]
    unreached_changed: bool
    def __init__(self, clock: _Optional[float] = ..., head: _Optional[int] = ..., given: _Optional[float] = ..., unreached: _Optional[_Iterable[_Union[Unreached, _Mapping]]] = ..., unreached_changed: bool = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("cursor",)
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    def __init__(self, cursor: _Optional[int] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ("flushes",)
    FLUSHES_FIELD_NUMBER: _ClassVar[int]
    flushes: int
    def __init__(self, flushes: _Optional[int] = ...) -> None: ...
