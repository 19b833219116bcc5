public import Addressing

/// A filter at a netfilter hook that the iptables tools do not show, or show wrongly (facts D9).
public struct UnseenFilter: Sendable, Hashable, Codable {
  /// The address family it sees; `nil`: both (inet, netdev).
  public var family: AddressFamily?
  /// The backend it belongs to.
  public var backend: Backend
  /// The table, as that backend names it.
  public var table: String
  /// The chain, if one is known.
  public var chain: String?
  /// The hooks in the kernel's lower-case names (`prerouting`, `input`, `forward`, `output`,
  /// `postrouting`, `ingress`, `egress`); empty: not known, so all of them.
  public var hooks: [String]
  /// Why it is not seen, in words for a person.
  public var why: String
  /// Whether the ruleset does show this chain, but with rules that are printed wrongly or missing.
  ///
  /// Then what is shown proves nothing: neither that a packet is accepted nor that it is refused.
  public var isMisprint: Bool
  /// What it does to which packets, in its rules' order; `nil`: not known, so it may touch any.
  ///
  /// The first step that surely or perhaps takes a packet decides, except that a step of
  /// ``FilterStep/Effect/passes`` must surely take it. A packet that no step takes is untouched. A
  /// value that was encoded without it is decoded as `nil`.
  public var steps: [FilterStep]?

  /// Makes an unseen filter.
  public init(
    family: AddressFamily?, backend: Backend, table: String, chain: String? = nil,
    hooks: [String] = [], why: String, isMisprint: Bool = false, steps: [FilterStep]? = nil
  ) {
    self.family = family
    self.backend = backend
    self.table = table
    self.chain = chain
    self.hooks = hooks
    self.why = why
    self.isMisprint = isMisprint
    self.steps = steps
  }

  /// Whether it may refuse, change or redirect a packet to a port, whatever else the packet is.
  ///
  /// - Parameters:
  ///   - transport: The packet's transport protocol.
  ///   - port: Its destination port, as the filter's hook sees it.
  /// - Returns: `false` only if what is known of the filter rules it out.
  public func mayTouch(_ transport: IPProtocol, destinationPort port: UInt16) -> Bool {
    mayTouch(PacketView(family: family, transport: transport, destinationPorts: [port]))
  }

  /// Whether it may touch a packet that passes its hooks.
  func mayTouch(_ packet: PacketView) -> Bool {
    guard let steps else { return true }
    for step in steps {
      let truth = step.scope.contains(packet)
      switch step.effect {
      case .passes: if truth == .yes { return false }
      case .touches: if truth != .no { return true }
      }
    }
    return false
  }
}
