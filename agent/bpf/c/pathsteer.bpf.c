/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#include <stddef.h>

#include "decap.h"
#include "encap.h"

/* ps1 */
SEC("classifier")
int ps_encap(struct __sk_buff *skb)
{
    return encap(skb);
}

/* an edge's veth to an uplink */
SEC("classifier")
int ps_decap_eth(struct __sk_buff *skb)
{
    return decap(skb, ETH_HLEN);
}

/* an anchor's WireGuard interface */
SEC("classifier")
int ps_decap_ip(struct __sk_buff *skb)
{
    return decap(skb, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
