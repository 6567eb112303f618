/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What kernel and agent both read and write: the twin of src/layout.rs. A change here is a new layout version. */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>

#define PS_LAYOUT 3

#define ROLE_EDGE 1   /* decides which path it sends by */
#define ROLE_ANCHOR 2 /* answers over the path it is spoken to */

/* Where a prefix lies, if not behind the remote with that id. What no prefix covers lies nowhere too. */
#define NOWHERE 0xffffffffu
#define OWN 0xfffffffeu /* behind this node */

#define REMOTES 2048 /* ids 1-2047, the node indexes of a fabric; 0: none known */
#define BUCKETS 256  /* flow buckets per remote and class */
#define MOST_COPIES 3

struct config {
    __be32 self;        /* own shim endpoint */
    __be32 probe_base;  /* own probe address of slot k is this plus k */
    __u32 epoch;        /* 0-31 */
    __u32 window_shift; /* log2 of the window in packets, 10-16 */
    __u32 role;
    __u32 gso; /* 1: several segments may pass at once, see encap */
};

struct remote {
    __be32 address; /* shim endpoint: the overlay, whose low bits are zero, plus the id; 0 where there is no remote */
    __u32 anchor;   /* anchor index for the mark, 0 at an anchor */
    __u32 identity; /* the agent's: a remote with another one begins anew */
    __u32 slots;    /* bit k-1: it can be reached by slot k */
    __u32 classes;  /* the agent's: bit c: class c has its sequences and windows */
};

/* key of chosen, learned, sequences, windows */
#define CLASS_KEY(remote, class) (((remote) << 4) | (class))
#define CLASS_KEYS (REMOTES << 4)

struct slots {
    __u32 ifindex[8]; /* of slot k at k-1; 0: none */
};

struct chosen {
    __u8 active; /* slot 1-8; 0: nothing chosen */
    __u8 copies; /* bit k-1: slot k */
    __u8 pad[6];
    __u64 counter;
};

struct learned {
    __u8 active; /* 0: nothing learned yet */
    __u8 copies;
    __u8 serial;
    __u8 pad;
    __u32 tick; /* low half of the jiffies at seen_ns */
    __u64 counter; /* of the last switch message */
    __u64 seen_ns; /* when the current serial was last seen, CLOCK_MONOTONIC_COARSE */
};

#define NO_EPOCH 0xffffffffu

/* Which epoch of a remote is current. `state` is read at once; the rest only under the lock. */
struct incarnation {
    __u64 state; /* incarnation << 8 | valid << 7 | epoch */
    __u64 changed_ns;
    __u32 previous; /* previous epoch, NO_EPOCH if none */
    struct bpf_spin_lock lock;
};

struct prefix_key {
    __u32 length; /* bits, IPv4 counted from 96 */
    __u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

/* An acknowledgement handed to the agent. */
struct acknowledgement {
    __u32 remote;
    __u8 class;
    __u8 active;
    __u8 copies;
    __u8 slot; /* by which it came */
    __u64 counter;
    __u64 nonce;
};

/* One counter each; the names are in src/layout.rs, in this order. What cannot be laid to a remote counts for 0. */
enum counter {
    C_SENT,        /* shimmed; of a packet that came whole every segment */
    C_WHOLE,       /* of those, segments of packets that came whole */
    C_DELIVERED,   /* first copy, shim taken off */
    C_DUPLICATE,   /* second copy, dropped */
    C_LATE,        /* behind the window, dropped */
    C_STALE_EPOCH, /* of the epoch before a restart, dropped */
    C_CONTROL,     /* control packets taken */
    C_NO_REMOTE,   /* destination behind no remote, dropped */
    C_NO_PATH,     /* no path chosen or learned, dropped */
    C_NO_STATE,    /* the maps lack what they should hold, dropped */
    C_NOT_SHIM,    /* no shim and none of what may come without one, dropped */
    C_UNKNOWN,     /* shim from an unknown endpoint, or of a version, protocol or message unknown, dropped */
    C_MALFORMED,   /* lengths, checksum or flags that contradict the packet, dropped */
    C_FOREIGN,     /* source not behind this edge, not shimmed but dropped */
    C_FORGED,      /* inner addresses that the sender may not use, dropped */
    C_COPY_SET,    /* by a slot that the remote does not have, to one, or too many copies, dropped */
    C_CLASS,       /* a class that the remote does not have, dropped */
    C_ECN,         /* congestion experienced by a flow that knows no ECN, dropped (RFC 6040) */
    C_OVERSIZE,    /* several segments at once where they may not pass, dropped */
    C_ERROR,       /* the kernel refused to change the packet, dropped */
    C_MAX,
};

struct counters {
    __u64 of[C_MAX];
};
