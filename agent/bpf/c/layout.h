/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What kernel and agent both read and write: the twin of src/layout.rs. A change here is a new layout version. */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>

#define PS_LAYOUT 1

#define ROLE_EDGE 1   /* decides which path it sends by */
#define ROLE_ANCHOR 2 /* answers over the path it is spoken to */

#define NO_REMOTE 0xffffffffu
#define BUCKETS 256 /* flow buckets per remote and class */

struct config {
    __be32 self;         /* own shim endpoint */
    __u32 epoch;         /* 0-31 */
    __u32 window_shift;  /* log2 of the window in packets, 10-16 */
    __u32 role;
};

struct remote {
    __be32 address;
    __u32 anchor; /* anchor index for the mark, 0 at an anchor */
    __u32 identity; /* the agent's: a remote with another one begins anew */
};

/* key of chosen, learned, sequences, windows */
#define CLASS_KEY(remote, class) (((remote) << 4) | (class))

struct chosen {
    __u8 active; /* slot 1-8 */
    __u8 copies; /* bit k-1: slot k */
    __u8 pad[6];
    __u64 counter;
};

struct learned {
    __u8 active; /* 0: nothing learned yet */
    __u8 copies;
    __u8 serial;
    __u8 pad[5];
    __u64 counter; /* of the last switch message */
    __u64 seen_ns; /* when the current serial was last seen, CLOCK_MONOTONIC */
};

/* Which epoch of a remote is current. `state` is read at once; the rest only under the lock. */
struct incarnation {
    __u64 state; /* incarnation << 8 | valid << 7 | epoch */
    __u64 changed_ns;
    __u32 previous; /* previous epoch, NO_REMOTE if none */
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

/* One counter each; the names are in src/layout.rs, in this order. */
enum counter {
    C_SENT,        /* shimmed */
    C_DELIVERED,   /* first copy, shim taken off */
    C_DUPLICATE,   /* second copy, dropped */
    C_LATE,        /* behind the window, dropped */
    C_STALE_EPOCH, /* of the epoch before a restart, dropped */
    C_CONTROL,     /* control packets taken */
    C_NO_REMOTE,   /* destination behind no remote, dropped */
    C_NO_PATH,     /* no path chosen or learned, dropped */
    C_NO_STATE,    /* no sequences or windows for this remote and class, dropped */
    C_NOT_SHIM,    /* not for us to unwrap, dropped at an edge */
    C_UNKNOWN,     /* shim from an unknown endpoint or of an unknown version, dropped */
    C_FORGED,      /* inner source not behind the sender, dropped */
    C_OVERSIZE,    /* more than one segment at once, dropped */
    C_ERROR,       /* the kernel refused to change the packet, dropped */
    C_MAX,
};
