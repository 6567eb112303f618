/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The maps. The agent pins all by name, so that programs and agent come and go while sequences and windows stay. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct config);
} ps_config SEC(".maps");

/* prefix -> remote id, OWN or NOWHERE */
struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 65536);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct prefix_key);
    __type(value, __u32);
} ps_prefix SEC(".maps");

/* by id */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, REMOTES);
    __type(key, __u32);
    __type(value, struct remote);
} ps_remote SEC(".maps");

/* which interface packets of a slot come in by */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct slots);
} ps_slot SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, CLASS_KEYS);
    __type(key, __u32);
    __type(value, struct chosen);
} ps_chosen SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, CLASS_KEYS);
    __type(key, __u32);
    __type(value, struct learned);
} ps_learned SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, REMOTES);
    __type(key, __u32);
    __type(value, struct incarnation);
} ps_incarnation SEC(".maps");

/* last sequence number sent, per bucket */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, CLASS_KEYS);
    __type(key, __u32);
    __array(values, struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, BUCKETS);
        __type(key, __u32);
        __type(value, __u32);
    });
} ps_sequence SEC(".maps");

/* sequence windows; how many words a bucket has depends on the declared width, so the inner size is free */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, CLASS_KEYS);
    __type(key, __u32);
    __array(values, struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, BUCKETS);
        __uint(map_flags, BPF_F_INNER_MAP);
        __type(key, __u32);
        __type(value, __u64);
    });
} ps_window SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 65536);
} ps_ack SEC(".maps");

/* by remote */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, REMOTES);
    __type(key, __u32);
    __type(value, struct counters);
} ps_counter SEC(".maps");

static __always_inline void count_more(__u32 remote, enum counter which, __u32 number)
{
    struct counters *counters = bpf_map_lookup_elem(&ps_counter, &remote);
    if (counters)
        counters->of[which] += number;
}

static __always_inline int count_and(__u32 remote, enum counter which, int verdict)
{
    count_more(remote, which, 1);
    return verdict;
}
