/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Gives every TCP segment the same IP ID before the kernel merges them, as senders do that count datagrams only where
 * they may be fragmented (RFC 6864). */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

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

char _license[] SEC("license") = "Dual MIT/GPL";
