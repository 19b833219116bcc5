import Addressing
public import Netlink
public import SystemPackage

extension FlowTable {
  /// Deletes one flow, named by original tuple, zone and id.
  ///
  /// A successor with the same tuple and another id stays; one that was given the same id goes, as
  /// nothing tells them apart. Corresponds to `conntrack -D --orig-src … -w ZONE`, which doesn't
  /// compare the id.
  ///
  /// - Parameters:
  ///   - key: The flow.
  ///   - namespace: The network namespace whose table it is.
  /// - Returns: Whether the flow was there; `false` if it was gone.
  /// - Throws: ``ConntrackError``; with code `invalidKey` if the key isn't a whole tuple with ports.
  @discardableResult
  public static func delete(
    _ key: FlowKey, in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> Bool {
    let account = try delete([key], in: namespace)
    if let errno = account.refused[key] {
      throw ConntrackError(NetlinkError(.refused, operation: "delete a flow", errno: errno))
    }
    return account.deleted == 1
  }

  /// What became of several deletions.
  public struct Deletions: Sendable, Hashable {
    /// How many flows were deleted.
    public var deleted = 0
    /// The flows that were gone already.
    public var gone: [FlowKey] = []
    /// The flows that the kernel would not delete, with its error.
    public var refused: [FlowKey: Errno] = [:]

    /// Makes the account of no deletions.
    public init() {}
  }

  /// Deletes several flows, many a call to the kernel: ten thousand take some hundredths of a second.
  ///
  /// One that is refused doesn't keep the others from being deleted.
  ///
  /// - Parameters:
  ///   - keys: The flows; all are checked before the first is deleted.
  ///   - namespace: The network namespace whose table it is.
  /// - Returns: How many were deleted, which were gone and which were refused.
  /// - Throws: ``ConntrackError`` when the kernel can't be asked; some may be deleted by then.
  public static func delete(
    _ keys: [FlowKey], in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> Deletions {
    let requests = try keys.map { (key) throws(ConntrackError) in try deletion(of: key) }
    var result = Deletions()
    guard !requests.isEmpty else { return result }
    do throws(NetlinkError) {
      var socket = try NetlinkSocket.open(.netfilter, in: namespace)
      for refusal in try socket.batch(requests, operation: "delete flows") {
        let key = keys[refusal.index]
        if refusal.errno == .noSuchFileOrDirectory {
          result.gone.append(key)
        } else {
          result.refused[key] = refusal.errno
        }
      }
    } catch {
      throw ConntrackError(error)
    }
    result.deleted = keys.count - result.gone.count - result.refused.count
    return result
  }

  /// The request that deletes one flow.
  ///
  /// A delete without a tuple flushes the whole table (facts I7), so one is always in it.
  static func deletion(of key: FlowKey) throws(ConntrackError) -> NetlinkRequest {
    try key.original.checkDeletable(operation: "delete a flow")
    var request = NetlinkRequest.conntrack(
      ConntrackMessage.deleteFlow, family: key.original.family)
    request.tuple(ConntrackAttribute.originalTuple, key.original)
    // Zone 0 is what the kernel assumes; a flow in another zone isn't found without it (facts A10).
    if key.zone != 0 { request.attribute(ConntrackAttribute.zone, bigEndian: key.zone) }
    request.attribute(ConntrackAttribute.id, bigEndian: key.id)
    return request
  }
}

extension FlowTuple {
  /// Refuses what the kernel couldn't find, or could misread.
  func checkDeletable(operation: String) throws(ConntrackError) {
    guard source.family == destination.family else {
      throw ConntrackError(
        .invalidKey, operation: operation, message: "addresses of two families in one tuple")
    }
    guard transport.hasPorts else {
      throw ConntrackError(
        .invalidKey, operation: operation, message: "\(transport) has no ports to name a flow by")
    }
  }
}
