#!/bin/busybox sh
# The machine's first process: leads from the initramfs to a root that is the host's, read-only, with a layer of memory
# above it, and there becomes the program that takes orders. What it needs to know stands in /order.
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

fail() {
    echo "init: $*"
    poweroff -f
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/modules/$module" || fail "the module $module does not load"
done </modules/order
. /order

mount -t virtiofs -o ro root /host || fail "the host's root does not come"
mount -t tmpfs -o size=80% layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /new || fail "no overlay"
mkdir -p "/new/lib/modules/$RELEASE"
mount -o bind "/host$KERNEL/lib/modules/$RELEASE" "/new/lib/modules/$RELEASE" || fail "no modules in $KERNEL"
mount -t tmpfs run /new/run
for folder in proc sys dev; do
    mount --move "/$folder" "/new/$folder"
done
exec switch_root /new "$PROGRAM" machine-init
