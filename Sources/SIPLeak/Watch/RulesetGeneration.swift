import Netlink

/// The number that nf_tables raises with every change, so that a change is noticed for next to nothing.
///
/// Rules of iptables-nft and nft, and elements of nft sets, raise it. iptables-legacy and ipset do not:
/// those are only noticed when everything is read again. Needs `CAP_NET_ADMIN`, Linux 3.18. Corresponds
/// to what `nft --debug=netlink` shows as generation id.
struct RulesetGeneration: ~Copyable {
  private var socket: NetlinkSocket

  /// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`.
  private static let question: UInt16 = 10 << 8 | 16
  /// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`.
  private static let answer: UInt16 = 10 << 8 | 15
  /// `NFTA_GEN_ID`.
  private static let id: UInt16 = 1

  init(in namespace: NetworkNamespace) throws(NetlinkError) {
    socket = try NetlinkSocket.open(.netfilter, in: namespace)
  }

  /// The number now, or `nil` where it is not to be had: this kernel has no nf_tables.
  mutating func read() -> UInt32? {
    var request = NetlinkRequest(type: Self.question)
    // nfgenmsg: family, version, resource id.
    request.append(UInt32(0))
    var result: UInt32?
    try? socket.request(request, operation: "read the ruleset's generation") { message, payload in
      guard message.type == Self.answer, payload.byteCount >= 4 else { return }
      var cursor = AttributeCursor(4..<payload.byteCount)
      while let attribute = try? cursor.next(in: payload) {
        if attribute.type == Self.id {
          result = try? attribute.bigEndian(UInt32.self, in: payload)
        }
      }
    }
    return result
  }
}
