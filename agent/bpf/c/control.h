/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Control packets: a switch made known on every path, and its acknowledgement.
 *
 * An anchor's program answers by itself, over the tunnel the message came in by: a switch succeeds while its agent is
 * down. An edge hands acknowledgements to its agent through a ring buffer. */
#pragma once
#include "packet.h"

#define CONTROL_SWITCH 1
#define CONTROL_ACKNOWLEDGE 2

struct control {
    __u8 type;
    __u8 class;
    __u8 active;
    __u8 copies;
    __be32 zero;
    __be64 counter;
    __be64 nonce;
} __attribute__((packed));

/* What is learned from data is believed over an older switch message only while it is fresh (see teach). */
#define FRESH_NS 1000000000ULL

static __always_inline int control_switch(struct __sk_buff *skb, __u32 id, const struct remote *remote,
                                          struct shim *shim, struct control *message)
{
    __u64 counter = bpf_be64_to_cpu(message->counter), now = bpf_ktime_get_coarse_ns();
    __u32 key = CLASS_KEY(id, message->class);
    struct learned *learned = NULL;

    if (!has_slot(remote->slots, message->active) || has_slot(message->copies, message->active) ||
        message->copies & ~remote->slots || !copies_allowed(message->copies))
        return count_and(id, C_COPY_SET, TC_ACT_SHOT);
    /* there is a place to learn in for every class, but a window only for one that the remote has */
    if (message->class <= 15 && bpf_map_lookup_elem(&ps_window, &key))
        learned = bpf_map_lookup_elem(&ps_learned, &key);
    if (!learned)
        return count_and(id, C_CLASS, TC_ACT_SHOT);
    if (!learned->active || counter > learned->counter || now - learned->seen_ns > FRESH_NS) {
        learned->active = message->active;
        learned->copies = message->copies;
        learned->serial = counter & 15;
        learned->counter = counter;
        learned->seen_ns = now;
    }
    message->type = CONTROL_ACKNOWLEDGE;
    message->active = learned->active;
    message->copies = learned->copies;
    message->counter = bpf_cpu_to_be64(learned->counter);
    __be32 sender = shim->ip.saddr;
    shim->ip.saddr = shim->ip.daddr; /* a swap leaves the header checksum as it is */
    shim->ip.daddr = sender;
    count_and(id, C_CONTROL, 0);
    return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int control_acknowledge(__u32 id, __u32 slot, const struct control *message)
{
    struct acknowledgement ack = {
        .remote = id,
        .class = message->class,
        .active = message->active,
        .copies = message->copies,
        .slot = slot,
        .counter = bpf_be64_to_cpu(message->counter),
        .nonce = bpf_be64_to_cpu(message->nonce),
    };
    bpf_ringbuf_output(&ps_ack, &ack, sizeof(ack), 0);
    return count_and(id, C_CONTROL, TC_ACT_SHOT);
}

static __always_inline int control(struct __sk_buff *skb, __u32 l2, const struct config *config, __u32 id,
                                   const struct remote *remote, __u32 slot)
{
    const __u32 length = sizeof(struct shim) + sizeof(struct control);
    struct shim *shim = skb->len == l2 + length ? bytes_at(skb, l2, length) : NULL;
    struct control *message = (void *)(shim + 1);

    if (!shim || message->zero)
        return count_and(id, C_UNKNOWN, TC_ACT_SHOT);
    if (message->type == CONTROL_SWITCH && config->role == ROLE_ANCHOR)
        return control_switch(skb, id, remote, shim, message);
    if (message->type == CONTROL_ACKNOWLEDGE && config->role == ROLE_EDGE)
        return control_acknowledge(id, slot, message);
    return count_and(id, C_UNKNOWN, TC_ACT_SHOT);
}
