/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What was delivered, as a plain list, and what that means for the next packet. */
#pragma once
#include <assert.h>
#include <stdint.h>

#define MOST_SEEN 256 /* packets of one input */

enum { SEEN_NOT, SEEN_ALREADY, SEEN_LATE };

struct seen {
    struct {
        uint32_t window; /* which: of an epoch, class and bucket */
        uint32_t sequence;
    } list[MOST_SEEN];
    int number;
};

/* What a window of whole words must say: the last packet delivered on the same word decides. */
static int seen_by_words(const struct seen *seen, uint32_t window, uint32_t sequence)
{
    const uint32_t block = sequence / 32, words = (1u << SHIFT) / 32;
    int of_this_block = 0;

    for (int i = seen->number - 1; i >= 0; i--) {
        uint32_t other = seen->list[i].sequence / 32;
        if (seen->list[i].window != window || other % words != block % words)
            continue;
        if (other != block)
            return !of_this_block && (int32_t)((block - other) * 32) < 0 ? SEEN_LATE : SEEN_NOT;
        of_this_block = 1;
        if (seen->list[i].sequence == sequence)
            return SEEN_ALREADY;
    }
    return SEEN_NOT;
}

/* What a set says, as far as a set can: within a window (less the word that is being filled) of the newest. -1 where it
 * cannot, or where the sender has jumped so far that no number is newer than another. */
static int seen_by_set(const struct seen *seen, uint32_t window, uint32_t sequence)
{
    uint32_t newest = 0;
    int any = 0, has = 0;

    for (int i = 0; i < seen->number; i++) {
        if (seen->list[i].window != window)
            continue;
        int32_t step = (int32_t)(seen->list[i].sequence - newest);
        if (any && (step > 0x00ffffff || step < -0x00ffffff)) /* 256 of these are less than the space */
            return -1;
        if (!any || step > 0)
            newest = seen->list[i].sequence;
        any = 1;
        has |= seen->list[i].sequence == sequence;
    }
    int32_t ahead = (int32_t)(sequence - newest);
    if (any && (ahead > 0x00ffffff || ahead < -(int32_t)((1u << SHIFT) - 32)))
        return -1;
    return has ? SEEN_ALREADY : SEEN_NOT;
}

static int seen_take(struct seen *seen, uint32_t window, uint32_t sequence)
{
    int outcome = seen_by_words(seen, window, sequence), plain = seen_by_set(seen, window, sequence);

    assert(plain < 0 || plain == outcome);
    if (outcome == SEEN_NOT && seen->number < MOST_SEEN) {
        seen->list[seen->number].window = window;
        seen->list[seen->number++].sequence = sequence;
    }
    return outcome;
}
