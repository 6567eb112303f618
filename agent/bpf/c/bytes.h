/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The packet's bytes where they are: a helper that copies them costs as much as a lookup. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* `length` bytes at `offset`, or NULL where the packet is shorter. What the kernel keeps apart is brought together for
 * that, and whatever was found before has to be sought again. */
static __always_inline void *bytes_at(struct __sk_buff *skb, __u32 offset, __u32 length)
{
    void *bytes = (void *)(long)skb->data + offset;

    if (bytes + length <= (void *)(long)skb->data_end)
        return bytes;
    if (bpf_skb_pull_data(skb, offset + length) < 0)
        return NULL;
    bytes = (void *)(long)skb->data + offset;
    return bytes + length <= (void *)(long)skb->data_end ? bytes : NULL;
}
