import CNetfilter
public import Netlink
import SystemPackage

extension FlowTable {
  /// What became of several creations.
  public struct Creations: Sendable, Hashable {
    /// How many flows were created.
    public var created = 0
    /// How many were there already.
    public var existing = 0
    /// How many the kernel refused, by its error number: a full table is `ENOMEM`.
    public var refused: [Int32: Int] = [:]

    /// Makes the account of no creations.
    public init() {}
  }

  /// Creates flows, many a call to the kernel: a million takes seconds.
  ///
  /// The tuples are taken as they are; where they don't mirror each other the entry looks translated,
  /// but the kernel translates no packet of it. Of the status the bits `SEEN_REPLY`, `ASSURED` and
  /// `FIXED_TIMEOUT` can be set (facts G3). The id is the kernel's, `timeout` is 60 seconds unless
  /// given. For benchmarks and tests; needs `CAP_NET_ADMIN`. Corresponds to `conntrack -I`.
  ///
  /// - Parameters:
  ///   - flows: The flows.
  ///   - namespace: The network namespace whose table it is.
  /// - Returns: How many were created.
  /// - Throws: ``ConntrackError``; some may have been created by then.
  public static func create(
    _ flows: some Sequence<Flow>, in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> Creations {
    var result = Creations()
    var count = 0
    do throws(NetlinkError) {
      var socket = try NetlinkSocket.open(.netfilter, in: namespace)
      let requests = flows.lazy.map { flow in
        count += 1
        return creation(of: flow)
      }
      for refusal in try socket.batch(requests, operation: "create flows") {
        if refusal.errno == .fileExists {
          result.existing += 1
        } else {
          result.refused[refusal.errno.rawValue, default: 0] += 1
        }
      }
    } catch {
      throw ConntrackError(error)
    }
    result.created = count - result.existing - result.refused.values.reduce(0, +)
    return result
  }

  /// The request that creates one flow.
  static func creation(of flow: Flow) -> NetlinkRequest {
    var request = NetlinkRequest.conntrack(
      ConntrackMessage.newFlow, family: flow.family, flags: UInt16(NLM_F_CREATE | NLM_F_EXCL))
    request.tuple(ConntrackAttribute.originalTuple, flow.original)
    request.tuple(ConntrackAttribute.replyTuple, flow.reply)
    let settable: FlowStatus = [.seenReply, .assured, .fixedTimeout]
    request.attribute(
      ConntrackAttribute.status,
      bigEndian: flow.status.intersection(settable).union(.confirmed).rawValue)
    request.attribute(ConntrackAttribute.timeout, bigEndian: flow.timeout ?? 60)
    if let mark = flow.mark { request.attribute(ConntrackAttribute.mark, bigEndian: mark) }
    if flow.zone != 0 { request.attribute(ConntrackAttribute.zone, bigEndian: flow.zone) }
    if let state = flow.tcpState {
      request.nest(ConntrackAttribute.protocolInfo) { info in
        info.nest(ConntrackAttribute.tcp) {
          $0.attribute(ConntrackAttribute.tcpState, host: state)
        }
      }
    }
    return request
  }
}
