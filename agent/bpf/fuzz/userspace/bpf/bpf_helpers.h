/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What the programs take from libbpf, for a process: the map macros, and the kernel's helpers as functions of world.h. */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>
#include <string.h>

#define SEC(name)
#ifndef __always_inline /* glibc has it too */
#define __always_inline inline __attribute__((always_inline))
#endif
#define __uint(name, val) int (*name)[val]
#define __type(name, val) __typeof__(val) *name
#define __array(name, val) __typeof__(val) *name[]

void *bpf_map_lookup_elem(void *map, const void *key);
long bpf_skb_pull_data(struct __sk_buff *skb, __u32 length);
long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 length, __u64 flags);
long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size);
long bpf_skb_adjust_room(struct __sk_buff *skb, __s32 difference, __u32 mode, __u64 flags);
long bpf_skb_change_proto(struct __sk_buff *skb, __be16 protocol, __u64 flags);
long bpf_redirect(__u32 ifindex, __u64 flags);
long bpf_ringbuf_output(void *ring, void *data, __u64 size, __u64 flags);
__u64 bpf_ktime_get_coarse_ns(void);
__u64 bpf_jiffies64(void);
void bpf_spin_lock(struct bpf_spin_lock *lock);
void bpf_spin_unlock(struct bpf_spin_lock *lock);
