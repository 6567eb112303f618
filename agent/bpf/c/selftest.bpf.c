/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What becomes of TCP segments before the kernel merges them. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct gre {
    __be16 flags;
    __be16 protocol;
};

/* Gives every one the same IP ID, as senders do that count datagrams only where they may be fragmented (RFC 6864). */
SEC("xdp")
int ps_fixed_id(struct xdp_md *context)
{
    void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    struct ethhdr *link = data;
    struct iphdr *ip = data + sizeof(*link);
    __u32 sum;

    if ((void *)(ip + 1) > end || link->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_TCP)
        return XDP_PASS;
    sum = (__u16)~ip->check + (__u16)~ip->id; /* RFC 1624 */
    ip->id = 0;
    sum = (sum & 0xffff) + (sum >> 16);
    ip->check = ~(__u16)(sum + (sum >> 16));
    return XDP_PASS;
}

/* Puts every IPv4 TCP segment into a tunnel of somebody's own (RFC 2784) before the kernel merges them. The outer header
 * has the inner one's IP ID, so that it is nothing else that sets these segments apart. */
SEC("xdp")
int ps_in_gre(struct xdp_md *context)
{
    const int room = sizeof(struct iphdr) + sizeof(struct gre);
    void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    struct ethhdr link, *outer_link = data;
    struct iphdr ip, *outer = data + sizeof(link);
    struct gre *gre;
    __u32 sum;

    if ((void *)(outer + 1) > end || outer_link->h_proto != bpf_htons(ETH_P_IP) || outer->protocol != IPPROTO_TCP)
        return XDP_PASS;
    link = *outer_link;
    ip = *outer;
    if (bpf_xdp_adjust_head(context, -room))
        return XDP_ABORTED;
    data = (void *)(long)context->data;
    end = (void *)(long)context->data_end;
    outer_link = data;
    outer = data + sizeof(link);
    gre = (void *)(outer + 1);
    if ((void *)(gre + 1) > end)
        return XDP_ABORTED;
    /* RFC 1624: the sum of the words before the change, their complements, and what they become */
    sum = (__u16)~ip.check + (__u16)~ip.tot_len + (__u16)~bpf_htons(ip.ttl << 8 | ip.protocol);
    ip.tot_len = bpf_htons(bpf_ntohs(ip.tot_len) + room);
    ip.protocol = IPPROTO_GRE;
    sum += ip.tot_len + bpf_htons(ip.ttl << 8 | ip.protocol);
    sum = (sum & 0xffff) + (sum >> 16);
    ip.check = ~(__u16)(sum + (sum >> 16));
    *outer_link = link;
    *outer = ip;
    gre->flags = 0;
    gre->protocol = bpf_htons(ETH_P_IP);
    return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
