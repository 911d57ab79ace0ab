# Docker with containerd and runc: runc stays on the board beside Kata.
RDEPENDS:${PN}:append = " docker kata-containerd-config"

# What Docker's networks load; its own recipe recommends some. Not all kernels have all: an iptables that writes nftables' rules
# wants the nft ones, and so does Docker where it is told to write them itself (`firewall-backend`).
KATA_KERNEL_MODULES:append = "\
    br-netfilter ip-tables ip6-tables iptable-filter iptable-mangle iptable-nat iptable-raw \
    ip6table-filter ip6table-mangle ip6table-nat ip6table-raw ipt-reject ip6t-reject nf-tables nft-chain-nat nft-compat \
    nft-ct nft-fib-inet nft-fib-ipv4 nft-fib-ipv6 nft-masq nft-nat \
    nf-nat nf-conntrack xt-addrtype xt-comment xt-conntrack xt-mark xt-masquerade xt-nat xt-tcpudp \
    ip-vs ip-vs-rr xt-ipvs ipvlan macvlan vxlan \
"
