/// Numbers of rtnetlink, beside their C names (`linux/rtnetlink.h` and its kin).
enum RouteNumber {
  /// `RTM_NEWLINK`, `RTM_GETLINK`.
  static let newLink: UInt16 = 16
  static let getLink: UInt16 = 18
  /// `RTM_NEWADDR`, `RTM_GETADDR`.
  static let newAddress: UInt16 = 20
  static let getAddress: UInt16 = 22
  /// `RTM_NEWROUTE`, `RTM_GETROUTE`.
  static let newRoute: UInt16 = 24
  static let getRoute: UInt16 = 26
  /// `RTM_NEWRULE`, `RTM_GETRULE`.
  static let newRule: UInt16 = 32
  static let getRule: UInt16 = 34
  /// `RTM_NEWNEXTHOP`, `RTM_GETNEXTHOP`; since Linux 5.3.
  static let newNextHop: UInt16 = 104
  static let getNextHop: UInt16 = 106

  /// Length of `ifinfomsg`.
  static let linkHeader = 16
  /// `IFLA_IFNAME`, `IFLA_MASTER`, `IFLA_LINKINFO`, and `IFLA_INFO_KIND` inside the last.
  static let linkName: UInt16 = 3
  static let linkMaster: UInt16 = 10
  static let linkInfo: UInt16 = 18
  static let linkKind: UInt16 = 1
  /// `IFF_UP`, `IFF_LOOPBACK`.
  static let isUp: UInt32 = 0x1
  static let isLoopback: UInt32 = 0x8

  /// Length of `ifaddrmsg`.
  static let addressHeader = 8
  /// `IFA_ADDRESS`, `IFA_LOCAL`.
  static let address: UInt16 = 1
  static let localAddress: UInt16 = 2

  /// Length of `rtmsg`.
  static let routeHeader = 12
  /// `RTA_DST` and the rest of a route's attributes.
  static let destination: UInt16 = 1
  static let source: UInt16 = 2
  static let outInterface: UInt16 = 4
  static let gateway: UInt16 = 5
  static let preferredSource: UInt16 = 7
  static let multipath: UInt16 = 9
  static let mark: UInt16 = 16
  static let via: UInt16 = 18
  /// `RTM_F_CLONED`: a cached route, not a configured one.
  static let isCloned: UInt32 = 0x200

  /// Length of `fib_rule_hdr`; `FR_ACT_TO_TBL`; `FIB_RULE_INVERT`.
  static let ruleHeader = 12
  static let lookUpTable: UInt8 = 1
  static let isInverted: UInt32 = 0x2
  /// `FRA_PRIORITY`, `FRA_SUPPRESS_PREFIXLEN`, `FRA_TABLE`, `FRA_PAD`, `FRA_PROTOCOL`.
  static let rulePriority: UInt16 = 6
  static let ruleSuppressed: UInt16 = 14
  static let ruleTable: UInt16 = 15
  static let rulePad: UInt16 = 18
  static let ruleProtocol: UInt16 = 21

  /// Length of `nhmsg`; `NHA_GROUP`, of which each entry has 8 bytes; `NHA_GATEWAY`.
  static let nextHopHeader = 8
  static let nextHopGroup: UInt16 = 2
  static let nextHopGroupEntry = 8
  static let nextHopGateway: UInt16 = 6
}
