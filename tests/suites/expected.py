"""The tests of cachetools that fail against our mapping, each with the reason; `*` is every class that has the test."""

EXPECTED = {
    "A cache belongs to its process and mesh: it is its own copy, and cannot be pickled.": [
        "*Cache*Test.test_copy",
        "*.test_copy_attributes",
        "*.test_copy_getsizeof",
        "*.test_copy_maxsize",
        "*.test_deepcopy",
        "*.test_deepcopy_maxsize",
        "*.test_pickle_maxsize",
        "*Cache*Test.test_pickle",
        "test_cachedmethod.CacheMethodTest.test_decorator_pickle*",
        "test_lfu.LFUCacheTest.test_lfu_copy_use_counts",
        "test_lru.LRUCacheTest.test_lru",
        "test_rr.RRCacheTest.test_rr_copy",
        "*.test_ttl_copy",
        "*.test_ttl_deepcopy_timer",
        "*.test_tlru_copy",
        "*.test_tlru_deepcopy_timer",
    ],
    "maxsize is a whole number from 1 on; a cache that keeps nothing is what disabled() and cache_if are for.": [
        "*.test_maxsize_infinite",
        "*.test_maxsize_negative",
        "*.test_maxsize_zero",
        "test_cached.CacheWrapperTest.test_zero_size_cache_*",
        "test_cachedmethod.CacheMethodTest.test_*nospace",
    ],
    "There is no __missing__: a value that is loaded comes from get_or_load, which loads once for all who ask.": [
        "*.test_missing",
        "*.test_missing_getsizeof",
    ],
    "A write of a value that is too large is refused, and flushes its key: the source may have been written.": [
        "*.test_getsizeof_param",
        "*.test_getsizeof_subclass",
    ],
    "popitem has no exception behind its KeyError that it would have to suppress.": [
        "*.test_popitem_exception_context",
    ],
    "cachetools.cached shows the maxsize of its own classes alone.": [
        "test_cached.CacheWrapperTest.test_decorator_*info",
        "test_cached.CacheWrapperTest.test_decorator_method",
        "test_cached.CacheWrapperTest.test_stacked_decorators",
        "test_cachedmethod.CacheMethodTest.test_decorator_*info",
        "test_cachedmethod.CacheMethodTest.test_decorator_deepcopy_super",
        "test_cachedmethod.CacheMethodTest.test_*_override",
        "test_cachedmethod.CacheMethodTest.test_shared_cache",
        "test_cachedmethod.UnboundMethodTest.test_class_call_info",
    ],
    "A hit takes no lock and does not pass through the policy, which learns of hits when it has to choose.": [
        "test_lfu.LFUCacheTest.test_lfu",
        "test_lfu.LFUCacheTest.test_lfu_tie",
        "*.test_ttl_lru",
        "*.test_ttu_lru",
    ],
    "Time is read for each entry, never held for the length of an operation; seconds, and no datetime.": [
        "*.test_ttl_atomic",
        "*.test_ttu_atomic",
        "*.test_ttl_datetime*",
        "*.test_tlru_datetime",
        "*.test_ttl_expire",
        "*.test_ttu_expire",
    ],
    "There is no expire(): what has run out goes as other entries come.": [
        "*.test_ttl_iter_expired",
        "*.test_ttu_iter_expired",
        "*.test_ttu_heap_cleanup",
    ],
    "Iterating goes over the keys of the moment when it began.": [
        "*.test_ttl_iter_modify",
        "*.test_tlru_iter_modify",
    ],
    "A ttl is more than 0: a value that has run out when it comes is a mistake.": [
        "*.test_overwrite_existing_with_expired",
        "*.test_ttu_expired",
        "*.test_ttu_reverse_insert",
    ],
    "del of a key that has run out raises no KeyError yet.": [
        "*.test_ttl",
        "*.test_ttu",
    ],
}
