/// What `nft -j -t list ruleset` 1.0.6 printed after loading the rules of common programs.
enum NativeTexts {
  /// What fail2ban's `nftables[type=multiport]` action makes for sshd.
  static let fail2ban = #"""
    {"nftables": [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
     1}},
    {"table": {"family": "inet", "name": "f2b-table", "handle": 1}},
    {"set": {"family": "inet", "name": "addr-set-sshd", "table": "f2b-table", "type": "ipv4_addr",
     "handle": 2}},
    {"chain": {"family": "inet", "table": "f2b-table", "name": "f2b-chain", "handle": 1, "type":
     "filter", "hook": "input", "prio": -1, "policy": "accept"}},
    {"rule": {"family": "inet", "table": "f2b-table", "chain": "f2b-chain", "handle": 3, "expr":
     [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right":
     22}}, {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
     "right": "@addr-set-sshd"}}, {"reject": {"type": "icmp", "expr": "port-unreachable"}}]}}
    ]}
    """#

  /// The same with a jail for Asterisk, and a jail with ban times.
  static let fail2banSIP = #"""
    {"nftables": [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
     1}},
    {"table": {"family": "inet", "name": "f2b-table", "handle": 1}},
    {"set": {"family": "inet", "name": "addr-set-asterisk", "table": "f2b-table", "type":
     "ipv4_addr", "handle": 2}},
    {"set": {"family": "inet", "name": "addr-set-sshd", "table": "f2b-table", "type": "ipv4_addr",
     "handle": 3, "flags": ["timeout"]}},
    {"chain": {"family": "inet", "table": "f2b-table", "name": "f2b-chain", "handle": 1, "type":
     "filter", "hook": "input", "prio": -1, "policy": "accept"}},
    {"rule": {"family": "inet", "table": "f2b-table", "chain": "f2b-chain", "handle": 4, "expr":
     [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right":
     22}}, {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
     "right": "@addr-set-sshd"}}, {"reject": {"type": "icmp", "expr": "port-unreachable"}}]}},
    {"rule": {"family": "inet", "table": "f2b-table", "chain": "f2b-chain", "handle": 6, "expr":
     [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right":
     {"set": [5060, 5061]}}}, {"match": {"op": "==", "left": {"payload": {"protocol": "ip",
     "field": "saddr"}}, "right": "@addr-set-asterisk"}}, {"reject": {"type": "icmp", "expr":
     "port-unreachable"}}]}},
    {"rule": {"family": "inet", "table": "f2b-table", "chain": "f2b-chain", "handle": 8, "expr":
     [{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right":
     {"set": [5060, 5061]}}}, {"match": {"op": "==", "left": {"payload": {"protocol": "ip",
     "field": "saddr"}}, "right": "@addr-set-asterisk"}}, {"reject": {"type": "icmp", "expr":
     "port-unreachable"}}]}}
    ]}
    """#

  /// The chain of crowdsec's firewall bouncer.
  static let crowdsec = #"""
    {"nftables": [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
     1}},
    {"table": {"family": "ip", "name": "crowdsec", "handle": 1}},
    {"set": {"family": "ip", "name": "crowdsec-blacklists", "table": "crowdsec", "type":
     "ipv4_addr", "handle": 2, "flags": ["timeout"]}},
    {"chain": {"family": "ip", "table": "crowdsec", "name": "crowdsec-chain", "handle": 1, "type":
     "filter", "hook": "input", "prio": -10, "policy": "accept"}},
    {"rule": {"family": "ip", "table": "crowdsec", "chain": "crowdsec-chain", "handle": 3, "expr":
     [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right":
     "@crowdsec-blacklists"}}, {"drop": null}]}}
    ]}
    """#

  /// Docker's own nft backend with one published port.
  static let docker = #"""
    {"nftables": [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
     1}},
    {"table": {"family": "ip", "name": "docker-bridges", "handle": 1}},
    {"map": {"family": "ip", "name": "filter-forward-in-jumps", "table": "docker-bridges", "type":
     "ifname", "handle": 9, "map": "verdict"}},
    {"map": {"family": "ip", "name": "filter-forward-out-jumps", "table": "docker-bridges",
     "type": "ifname", "handle": 10, "map": "verdict"}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "filter-FORWARD", "handle": 1,
     "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "nat-OUTPUT", "handle": 2,
     "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "nat-POSTROUTING", "handle": 3,
     "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "nat-PREROUTING", "handle": 4,
     "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "nat-prerouting-and-output",
     "handle": 5}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "raw-PREROUTING", "handle": 6,
     "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "filter-forward-in__docker0",
     "handle": 7}},
    {"chain": {"family": "ip", "table": "docker-bridges", "name": "filter-forward-out__docker0",
     "handle": 8}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-FORWARD", "handle": 11,
     "expr": [{"vmap": {"key": {"meta": {"key": "oifname"}}, "data":
     "@filter-forward-in-jumps"}}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-FORWARD", "handle": 12,
     "expr": [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data":
     "@filter-forward-out-jumps"}}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "nat-OUTPUT", "handle": 13,
     "expr": [{"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}},
     "right": {"prefix": {"addr": "127.0.0.0", "len": 8}}}}, {"match": {"op": "==", "left":
     {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}, {"counter": {"packets":
     0, "bytes": 0}}, {"jump": {"target": "nat-prerouting-and-output"}}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "nat-POSTROUTING", "handle": 14,
     "expr": [{"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": "docker0"}},
     {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right":
     {"prefix": {"addr": "172.17.0.0", "len": 16}}}}, {"counter": {"packets": 0, "bytes": 0}},
     {"masquerade": null}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "nat-PREROUTING", "handle": 15,
     "expr": [{"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}},
     "right": "local"}}, {"counter": {"packets": 0, "bytes": 0}}, {"jump": {"target":
     "nat-prerouting-and-output"}}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "nat-prerouting-and-output",
     "handle": 16, "comment": "DNAT", "expr": [{"match": {"op": "!=", "left": {"meta": {"key":
     "iifname"}}, "right": "docker0"}}, {"match": {"op": "==", "left": {"payload": {"protocol":
     "tcp", "field": "dport"}}, "right": 8080}}, {"counter": {"packets": 0, "bytes": 0}}, {"dnat":
     {"addr": "172.17.0.2", "port": 80}}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "raw-PREROUTING", "handle": 17,
     "comment": "DROP DIRECT ACCESS", "expr": [{"match": {"op": "!=", "left": {"meta": {"key":
     "iifname"}}, "right": "docker0"}}, {"match": {"op": "==", "left": {"payload": {"protocol":
     "ip", "field": "daddr"}}, "right": "172.17.0.2"}}, {"counter": {"packets": 0, "bytes": 0}},
     {"drop": null}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-forward-in__docker0",
     "handle": 18, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right":
     ["established", "related"]}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-forward-in__docker0",
     "handle": 19, "comment": "ICC", "expr": [{"match": {"op": "==", "left": {"meta": {"key":
     "iifname"}}, "right": "docker0"}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept":
     null}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-forward-in__docker0",
     "handle": 20, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field":
     "daddr"}}, "right": "172.17.0.2"}}, {"match": {"op": "==", "left": {"payload": {"protocol":
     "tcp", "field": "dport"}}, "right": 80}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept":
     null}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-forward-in__docker0",
     "handle": 21, "comment": "UNPUBLISHED PORT DROP", "expr": [{"counter": {"packets": 0,
     "bytes": 0}}, {"drop": null}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-forward-out__docker0",
     "handle": 22, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right":
     ["established", "related"]}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}},
    {"rule": {"family": "ip", "table": "docker-bridges", "chain": "filter-forward-out__docker0",
     "handle": 23, "comment": "OUTGOING", "expr": [{"counter": {"packets": 0, "bytes": 0}},
     {"accept": null}]}}
    ]}
    """#

  /// firewalld with the zone `public`, from its rules' shape.
  static let firewalld = #"""
    {"nftables": [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
     1}},
    {"table": {"family": "inet", "name": "firewalld", "handle": 1}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "mangle_PREROUTING", "handle": 1,
     "type": "filter", "hook": "prerouting", "prio": -140, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "mangle_PREROUTING_POLICIES_pre",
     "handle": 2}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "mangle_PREROUTING_ZONES",
     "handle": 3}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "mangle_PREROUTING_POLICIES_post",
     "handle": 4}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PREROUTING", "handle": 5,
     "type": "nat", "hook": "prerouting", "prio": -90, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PREROUTING_POLICIES_pre",
     "handle": 6}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PREROUTING_ZONES", "handle":
     7}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PREROUTING_POLICIES_post",
     "handle": 8}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_POSTROUTING", "handle": 9,
     "type": "nat", "hook": "postrouting", "prio": 110, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_POSTROUTING_ZONES", "handle":
     10}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_OUTPUT", "handle": 11, "type":
     "nat", "hook": "output", "prio": -90, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_PREROUTING", "handle": 12,
     "type": "filter", "hook": "prerouting", "prio": 10, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_INPUT", "handle": 13,
     "type": "filter", "hook": "input", "prio": 10, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FORWARD", "handle": 14,
     "type": "filter", "hook": "forward", "prio": 10, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_OUTPUT", "handle": 15,
     "type": "filter", "hook": "output", "prio": 10, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_INPUT_POLICIES_pre",
     "handle": 16}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_INPUT_ZONES", "handle":
     17}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_INPUT_POLICIES_post",
     "handle": 18}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FORWARD_POLICIES_pre",
     "handle": 19}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FORWARD_ZONES", "handle":
     20}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FORWARD_POLICIES_post",
     "handle": 21}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_IN_public", "handle": 22}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_IN_public_pre", "handle":
     23}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_IN_public_log", "handle":
     24}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_IN_public_deny", "handle":
     25}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_IN_public_allow", "handle":
     26}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_IN_public_post", "handle":
     27}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PRE_public", "handle": 28}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PRE_public_pre", "handle":
     29}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PRE_public_allow", "handle":
     30}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public", "handle":
     31}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public_allow",
     "handle": 32}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "mangle_PRE_public", "handle":
     33}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "mangle_PRE_public_allow",
     "handle": 34}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_IN_policy_allow-host-ipv6",
     "handle": 35}},
    {"chain": {"family": "inet", "table": "firewalld", "name":
     "filter_IN_policy_allow-host-ipv6_allow", "handle": 36}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "nat_PRE_policy_allow-host-ipv6",
     "handle": 37}},
    {"chain": {"family": "inet", "table": "firewalld", "name":
     "mangle_PRE_policy_allow-host-ipv6", "handle": 38}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "mangle_PREROUTING", "handle": 39,
     "expr": [{"jump": {"target": "mangle_PREROUTING_ZONES"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "mangle_PREROUTING_POLICIES_pre",
     "handle": 40, "expr": [{"jump": {"target": "mangle_PRE_policy_allow-host-ipv6"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "mangle_PREROUTING_ZONES",
     "handle": 41, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right":
     "eth0"}}, {"goto": {"target": "mangle_PRE_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "mangle_PREROUTING_ZONES",
     "handle": 42, "expr": [{"goto": {"target": "mangle_PRE_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PREROUTING", "handle": 43,
     "expr": [{"jump": {"target": "nat_PREROUTING_ZONES"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PREROUTING_POLICIES_pre",
     "handle": 44, "expr": [{"jump": {"target": "nat_PRE_policy_allow-host-ipv6"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PREROUTING_ZONES", "handle":
     45, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}},
     {"goto": {"target": "nat_PRE_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PREROUTING_ZONES", "handle":
     46, "expr": [{"goto": {"target": "nat_PRE_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_POSTROUTING", "handle": 47,
     "expr": [{"jump": {"target": "nat_POSTROUTING_ZONES"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_PREROUTING", "handle": 49,
     "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "icmpv6", "field": "type"}},
     "right": {"set": ["nd-router-advert", "nd-neighbor-solicit"]}}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_PREROUTING", "handle": 50,
     "expr": [{"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv6"}},
     {"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "mark", "iif"]}},
     "right": false}}, {"drop": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "handle": 52,
     "expr": [{"match": {"op": "==", "left": {"ct": {"key": "state"}}, "right": {"set":
     ["established", "related"]}}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "handle": 53,
     "expr": [{"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}},
     {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "handle": 54,
     "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}},
     {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "handle": 55,
     "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}},
     {"drop": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "handle": 56,
     "expr": [{"jump": {"target": "filter_INPUT_ZONES"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "handle": 57,
     "expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "handle": 59,
     "expr": [{"match": {"op": "==", "left": {"ct": {"key": "state"}}, "right": {"set":
     ["established", "related"]}}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "handle": 60,
     "expr": [{"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}},
     {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "handle": 61,
     "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}},
     {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "handle": 62,
     "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}},
     {"drop": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "handle": 64,
     "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "daddr"}},
     "right": {"set": [{"prefix": {"addr": "::", "len": 96}}, {"prefix": {"addr":
     "::ffff:0.0.0.0", "len": 96}}, {"prefix": {"addr": "2002::", "len": 24}}, {"prefix": {"addr":
     "2002:a00::", "len": 24}}]}}}, {"reject": {"type": "icmpv6", "expr": "addr-unreachable"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "handle": 65,
     "expr": [{"jump": {"target": "filter_FORWARD_ZONES"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "handle": 66,
     "expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_OUTPUT", "handle": 68,
     "expr": [{"match": {"op": "==", "left": {"ct": {"key": "state"}}, "right": {"set":
     ["established", "related"]}}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_OUTPUT", "handle": 69,
     "expr": [{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "lo"}},
     {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_OUTPUT", "handle": 71,
     "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "daddr"}},
     "right": {"set": [{"prefix": {"addr": "::", "len": 96}}, {"prefix": {"addr": "2002::", "len":
     24}}]}}}, {"reject": {"type": "icmpv6", "expr": "addr-unreachable"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT_POLICIES_pre",
     "handle": 72, "expr": [{"jump": {"target": "filter_IN_policy_allow-host-ipv6"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT_ZONES", "handle": 73,
     "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}},
     {"goto": {"target": "filter_IN_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT_ZONES", "handle": 74,
     "expr": [{"goto": {"target": "filter_IN_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD_ZONES", "handle":
     75, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}},
     {"goto": {"target": "filter_FWD_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD_ZONES", "handle":
     76, "expr": [{"goto": {"target": "filter_FWD_public"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 77,
     "expr": [{"jump": {"target": "filter_INPUT_POLICIES_pre"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 78,
     "expr": [{"jump": {"target": "filter_IN_public_pre"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 79,
     "expr": [{"jump": {"target": "filter_IN_public_log"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 80,
     "expr": [{"jump": {"target": "filter_IN_public_deny"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 81,
     "expr": [{"jump": {"target": "filter_IN_public_allow"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 82,
     "expr": [{"jump": {"target": "filter_IN_public_post"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 83,
     "expr": [{"jump": {"target": "filter_INPUT_POLICIES_post"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 85,
     "expr": [{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set":
     ["icmp", "ipv6-icmp"]}}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public", "handle": 86,
     "expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public_allow", "handle":
     87, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field":
     "dport"}}, "right": 22}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public_allow", "handle":
     88, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field":
     "daddr"}}, "right": {"prefix": {"addr": "fe80::", "len": 64}}}}, {"match": {"op": "==",
     "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 546}}, {"accept":
     null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_public_allow", "handle":
     89, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field":
     "dport"}}, "right": 5060}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PRE_public", "handle": 90,
     "expr": [{"jump": {"target": "nat_PREROUTING_POLICIES_pre"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PRE_public", "handle": 91,
     "expr": [{"jump": {"target": "nat_PRE_public_pre"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PRE_public", "handle": 92,
     "expr": [{"jump": {"target": "nat_PRE_public_allow"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "nat_PRE_public", "handle": 93,
     "expr": [{"jump": {"target": "nat_PREROUTING_POLICIES_post"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FWD_public", "handle": 94,
     "expr": [{"jump": {"target": "filter_FORWARD_POLICIES_pre"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FWD_public", "handle": 95,
     "expr": [{"jump": {"target": "filter_FWD_public_allow"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FWD_public", "handle": 96,
     "expr": [{"jump": {"target": "filter_FORWARD_POLICIES_post"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FWD_public", "handle": 97,
     "expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FWD_public_allow",
     "handle": 98, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right":
     "eth0"}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "mangle_PRE_public", "handle": 99,
     "expr": [{"jump": {"target": "mangle_PREROUTING_POLICIES_pre"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "mangle_PRE_public", "handle": 100,
     "expr": [{"jump": {"target": "mangle_PRE_public_allow"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "mangle_PRE_public", "handle": 101,
     "expr": [{"jump": {"target": "mangle_PREROUTING_POLICIES_post"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_IN_policy_allow-host-ipv6",
     "handle": 102, "expr": [{"jump": {"target": "filter_IN_policy_allow-host-ipv6_allow"}}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain":
     "filter_IN_policy_allow-host-ipv6_allow", "handle": 103, "expr": [{"match": {"op": "==",
     "left": {"payload": {"protocol": "icmpv6", "field": "type"}}, "right":
     "nd-neighbor-advert"}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain":
     "filter_IN_policy_allow-host-ipv6_allow", "handle": 104, "expr": [{"match": {"op": "==",
     "left": {"payload": {"protocol": "icmpv6", "field": "type"}}, "right":
     "nd-neighbor-solicit"}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain":
     "filter_IN_policy_allow-host-ipv6_allow", "handle": 105, "expr": [{"match": {"op": "==",
     "left": {"payload": {"protocol": "icmpv6", "field": "type"}}, "right": "nd-router-advert"}},
     {"accept": null}]}},
    {"rule": {"family": "inet", "table": "firewalld", "chain":
     "filter_IN_policy_allow-host-ipv6_allow", "handle": 106, "expr": [{"match": {"op": "==",
     "left": {"payload": {"protocol": "icmpv6", "field": "type"}}, "right": "nd-redirect"}},
     {"accept": null}]}}
    ]}
    """#

  /// Debian's `/etc/nftables.conf`.
  static let debian = #"""
    {"nftables": [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
     1}},
    {"table": {"family": "inet", "name": "filter", "handle": 1}},
    {"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 1, "type":
     "filter", "hook": "input", "prio": 0, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "filter", "name": "forward", "handle": 2, "type":
     "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
    {"chain": {"family": "inet", "table": "filter", "name": "output", "handle": 3, "type":
     "filter", "hook": "output", "prio": 0, "policy": "accept"}}
    ]}
    """#

  /// A host filter under policy drop, as the nftables wiki teaches.
  static let wiki = #"""
    {"nftables": [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
     1}},
    {"table": {"family": "inet", "name": "my_filter", "handle": 1}},
    {"set": {"family": "inet", "name": "tcp_accepted", "table": "my_filter", "type":
     "inet_service", "handle": 2, "flags": ["interval"]}},
    {"chain": {"family": "inet", "table": "my_filter", "name": "in", "handle": 1, "type":
     "filter", "hook": "input", "prio": 0, "policy": "drop"}},
    {"rule": {"family": "inet", "table": "my_filter", "chain": "in", "handle": 4, "expr":
     [{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", {"drop": null}],
     ["established", {"accept": null}], ["related", {"accept": null}]]}}}]}},
    {"rule": {"family": "inet", "table": "my_filter", "chain": "in", "handle": 5, "expr":
     [{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"accept":
     null}]}},
    {"rule": {"family": "inet", "table": "my_filter", "chain": "in", "handle": 7, "expr":
     [{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right":
     {"set": [5060, {"range": [16384, 32768]}]}}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "my_filter", "chain": "in", "handle": 8, "expr":
     [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right":
     "@tcp_accepted"}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "my_filter", "chain": "in", "handle": 10, "expr":
     [{"match": {"op": "==", "left": {"concat": [{"meta": {"key": "l4proto"}}, {"payload":
     {"protocol": "th", "field": "dport"}}]}, "right": {"set": [{"concat": ["udp", 53]},
     {"concat": ["tcp", 8080]}]}}}, {"drop": null}]}}
    ]}
    """#
}
