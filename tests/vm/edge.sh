#!/bin/sh
# Makes a machine that has just been booted the node: its cards get their names, its disk lies under the node's files, its
# agent runs and speaks on the console. To be told: CARDS (name=MAC …), FIRST (1 when the disk is blank), SEED (a folder
# with the node's files), CLOCK (what becomes of the time that the agent has kept: keep, hide or return), AGENT (program).
set -eu
for module in virtio_net virtio_blk ext4; do
    modprobe "$module"
done
[ "$FIRST" = 0 ] || mkfs.ext4 -q /dev/vda
mkdir -p /disk /etc/pathsteer /var/lib/pathsteer
mount -t ext4 /dev/vda /disk
if [ "$FIRST" = 1 ]; then
    cp -a "$SEED/." /disk/
    sync
fi
mount --bind /disk/etc /etc/pathsteer
mount --bind /disk/state /var/lib/pathsteer
cd /var/lib/pathsteer
case "$CLOCK" in
hide) mv time.json time.hidden ;;
return) mv time.hidden time.json ;;
esac
for card in $CARDS; do
    for link in /sys/class/net/*; do
        [ "$(cat "$link/address")" != "${card#*=}" ] || ip link set "${link##*/}" name "${card%%=*}"
    done
done
setsid "$AGENT" run >/dev/ttyS0 2>&1 &
echo $! >/run/agent.pid
