import Firewall

extension RepeatedEvaluation {
  /// More interfaces than this are not tried one by one; the answer is then less certain.
  private static let limit = 64

  /// Walks a packet whose interface may not be known by each one it may come by.
  ///
  /// An unknown interface alone would leave `-i lo -j ACCEPT`, which stands in nearly every
  /// ruleset, undecided; a packet of a peer does not come by `lo`.
  ///
  /// - Parameters:
  ///   - packet: The packet.
  ///   - path: Where it goes after routing.
  ///   - interfaces: The interfaces a packet from outside may come by.
  /// - Returns: Every possible outcome over all of them.
  mutating func walk(
    _ packet: Packet, to path: PacketPath, byAnyOf interfaces: [String]
  ) -> Walk {
    let plain = walk(packet, to: path)
    guard packet.inInterface == nil, !plain.isCertain, !interfaces.isEmpty,
      interfaces.count <= Self.limit
    else { return plain }
    var result: Walk?
    for interface in interfaces {
      var packet = packet
      packet.inInterface = interface
      let next = walk(packet, to: path)
      result = result?.joined(next) ?? next
    }
    return result ?? plain
  }
}

extension Walk {
  /// What may become of a packet that takes one of two ways.
  fileprivate func joined(_ other: Walk) -> Walk {
    var result = self
    func add<T: Hashable>(_ new: [T], to list: inout [T]) {
      list += new.filter { !list.contains($0) }
    }
    add(other.outcomes, to: &result.outcomes)
    add(other.unknowns, to: &result.unknowns)
    add(other.dependsOnMemory, to: &result.dependsOnMemory)
    let known = Set(path.map(\.rule))
    result.path += other.path.filter { !known.contains($0.rule) }.map {
      RuleHit($0.rule, isCertain: false)
    }
    if other.translation != translation { result.translation = .uncertain }
    if other.zone != zone { result.zone = nil }
    if isCertain, other.isCertain, !result.isCertain {
      result.unknowns.append(
        UnknownReason(
          .fact,
          "by which interface it comes: there are policy rules, several paths or several default "
            + "routes"))
    }
    return result
  }
}
