// Short explanations for who learns: what each kind of thing, table and step is. One sentence or two each; an engineer
// turns them off. Pure data.

/** Kinds of objects, as the inspector shows them. */
export const THINGS: Record<string, string> = {
  node: "A machine with its own network stack. Its namespace holds the NIC to the other nodes and one end of every pod's link.",
  pod: "A network namespace that all containers of the pod share: its own links, addresses, routes and ports. Usually a pause container keeps it open.",
  netns:
    "A network namespace without a pod that is known: a network stack of its own, apart from the node's.",
  service:
    "A stable address for a set of pods. Usually no device has it: rules on every node rewrite it to the address of one of the pods.",
};

/** Kinds of links, by the kernel's name; "" is a device of hardware. */
export const LINKS: Record<string, string> = {
  "": "A device of the machine itself: what leaves here is on the wire to other machines.",
  veth: "A virtual cable with two ends. What is sent into one end comes out of the other, which may be in another namespace.",
  bridge:
    "A switch in software. It learns behind which port each MAC is, and sends a frame to that port, or to all while it doesn't know.",
  vxlan:
    "A tunnel: a frame is put into a UDP packet to the node where its destination is, and taken out there. Costs 50 bytes of the MTU (70 over IPv6).",
  geneve: "A tunnel like VXLAN whose header can carry options. The frame travels in a UDP packet.",
  macvlan:
    "A device with its own MAC on top of another one, so that a namespace is on that device's network directly.",
  ipvlan: "Like macvlan, but all share the lower device's MAC; what is for whom is told by the IP address.",
  vlan: "Frames with one VLAN tag of the device below, as a device of their own.",
  bond: "Several devices as one: for more throughput, or so that one may fail.",
  dummy: "A device without a wire: it drops what is sent to it. It is there for its addresses.",
  ifb: "A device to which traffic is redirected so that it can be shaped. It has no wire.",
  ipip: "A tunnel that puts an IPv4 packet into another one. Costs 20 bytes of the MTU.",
  gre: "A tunnel that puts a packet behind a GRE header. Costs at least 24 bytes of the MTU.",
  sit: "A tunnel that carries IPv6 packets in IPv4.",
  wireguard: "An encrypted tunnel. Which peer a packet goes to is decided by the peers' allowed IPs.",
  tun: "A device whose other end is a program: what is sent here the program reads.",
  vrf: "A domain of its own for routing: packets of its devices are looked up in its table.",
  loopback: "The namespace's way to itself: 127.0.0.1, ::1 and all its own addresses.",
};

/** Tables of a namespace, by the tab's name. */
export const TABLES: Record<string, string> = {
  routes:
    "Where a packet goes by its destination: the longest prefix that contains it wins, then the lowest metric.",
  neighs:
    "Which MAC a neighbour's IP address has (ARP, or neighbour discovery for IPv6). FAILED means that nobody answered.",
  sockets: "What programs in this namespace listen on, and what they are connected to.",
  rules: "Which routing table is asked for a packet: by priority, until one has a route.",
  nft: "Netfilter's rules, from nftables and iptables alike. Chains with a hook see the packets that pass there (of type nat only the first of a connection); the others are called by jumps.",
  fdb: "Behind which port, or at which tunnel end, a bridge or VXLAN device knows each MAC.",
  conntrack:
    "Connections that the kernel has seen here. Address translation is decided by a connection's first packet and kept here.",
  sysctls: "Switches of the kernel that decide whether and how packets are forwarded.",
};

/** Steps of a trace. */
export const STEPS: Record<string, string> = {
  origin: "The packet is made here. Its source address is chosen from the route that it will take.",
  socket: "A program's socket sends or receives it.",
  rule: "The policy rules say which routing table is asked.",
  route: "The routing table says by which device it goes on, and by way of which gateway.",
  neigh:
    "The next hop's MAC is looked up. Without one the kernel asks for it, and drops the packet when nobody answers.",
  link_tx: "It is handed to a device to be sent.",
  link_rx: "A device has received it.",
  bridge: "A bridge decides by the destination's MAC to which of its ports it goes.",
  netfilter: "The rules that hang at this place are asked in order; the first verdict that ends it counts.",
  nat: "An address or port is rewritten. Its answers are rewritten back.",
  conntrack: "It is matched with a connection that is known, or begins a new one.",
  encap: "It is put into another packet, as a letter into an envelope, to travel through a tunnel.",
  decap: "It is taken out of the packet in which it came through the tunnel.",
  local_in: "It is for this namespace itself: what listens there gets it.",
  forward: "It is for somebody else, and this namespace passes packets on if ip_forward says so.",
  ttl: "Each router takes one off the TTL. At zero it is dropped, so that nothing goes in circles for ever.",
  mtu: "It is compared with the largest packet that the device takes. What is larger is split, refused or dropped.",
  rp_filter: "Would an answer leave by the device that it came in by? If not, it may be dropped.",
  opaque: "A program decides here (eBPF, a queue to user space), which netviz can't read.",
};

export function thingText(kind: string, linkKind?: string): string {
  return (kind === "link" ? LINKS[linkKind ?? ""] : THINGS[kind]) ?? "";
}
