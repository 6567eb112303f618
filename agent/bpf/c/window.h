/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Sequence windows: which packets of a remote, class and bucket have been seen.
 *
 * A word holds 32 packets: incarnation:10 | generation:22 | seen:32. The word of sequence s is (s / 32) modulo the words
 * of a bucket, its generation s / window. A word of an older generation or another incarnation counts as empty, of a
 * newer one means that s is late. One compare-and-swap a packet: no lock (6.1 refuses locks in inner maps) and no
 * clearing when the window moves. */
#pragma once
#include "maps.h"

/* After a new epoch the previous one's stragglers are refused for this long; WANs hold packets for less. */
#define PREVIOUS_EPOCH_NS 2000000000ULL
/* Two processors meeting in one word is rare, more than this many times in a row means something is broken. */
#define SWAP_TRIES 8

#define INCARNATION(state) ((__u32)((state) >> 8))
#define STATE(incarnation, epoch) (((__u64)(incarnation) << 8) | 0x80 | (epoch))

/* 0 and *incarnation set, or the counter of why the packet must be dropped. */
static __always_inline int incarnation_of(__u32 remote, __u32 epoch, __u32 *incarnation)
{
    struct incarnation *known = bpf_map_lookup_elem(&ps_incarnation, &remote);
    __u64 now, state;
    int stale = 0;

    if (!known)
        return C_NO_STATE;
    state = *(volatile __u64 *)&known->state;
    if ((state & 0xff) == (0x80 | epoch)) {
        *incarnation = INCARNATION(state);
        return 0;
    }
    now = bpf_ktime_get_coarse_ns();
    bpf_spin_lock(&known->lock);
    state = known->state;
    if ((state & 0xff) != (0x80 | epoch)) {
        if (known->previous == epoch && now - known->changed_ns < PREVIOUS_EPOCH_NS) {
            stale = 1;
        } else {
            known->previous = state & 0x80 ? (__u32)(state & 31) : NO_EPOCH;
            known->changed_ns = now;
            state = STATE(INCARNATION(state) + 1, epoch);
            known->state = state;
        }
    }
    bpf_spin_unlock(&known->lock);
    *incarnation = INCARNATION(state);
    return stale ? C_STALE_EPOCH : 0;
}

/* 0 if sequence was not seen before (and is marked seen now), or the counter of why the packet must be dropped. */
static __always_inline int window_take(void *window, __u32 shift, __u32 bucket, __u32 sequence, __u32 incarnation)
{
    __u32 words_shift = shift - 5;
    __u32 index = (bucket << words_shift) | ((sequence >> 5) & ((1u << words_shift) - 1));
    __u32 generation = sequence >> shift;
    __u64 bit = 1ULL << (sequence & 31);
    __u64 tag = ((__u64)(incarnation & 1023) << 54) | ((__u64)generation << 32);
    __u64 *word = bpf_map_lookup_elem(window, &index);

    if (!word)
        return C_NO_STATE;
    for (int i = 0; i < SWAP_TRIES; i++) {
        __u64 old = *(volatile __u64 *)word, fresh;
        if ((old >> 32) == (tag >> 32)) {
            if (old & bit)
                return C_DUPLICATE;
            fresh = old | bit;
        } else {
            __u32 old_generation = (old >> 32) & 0x3fffff;
            /* compared modulo the sequence space, so that the wrap of 2^32 goes unnoticed */
            if ((old >> 54) == (tag >> 54) && (__u32)old &&
                (__s32)((generation - old_generation) << shift) < 0)
                return C_LATE;
            fresh = tag | bit;
        }
        if (__sync_val_compare_and_swap(word, old, fresh) == old)
            return 0;
    }
    return C_ERROR;
}
