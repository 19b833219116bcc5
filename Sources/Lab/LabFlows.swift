public import Addressing
public import Conntrack

extension LabHost {
  /// Puts flows into the host's connection tracking table, hundreds of thousands a second.
  ///
  /// Each sends the event NEW, as if its first packet had come. Corresponds to `conntrack -I`.
  ///
  /// - Parameter flows: The flows, as `FlowTable.create` takes them.
  /// - Returns: How many were created.
  /// - Throws: ``LabError`` when the host isn't proved private or its table can't be written.
  @discardableResult
  public func load(_ flows: some Sequence<Flow>) throws(LabError) -> FlowTable.Creations {
    try Isolation.prove(namespace)
    do throws(ConntrackError) {
      return try FlowTable.create(flows, in: namespace)
    } catch {
      throw LabError(.system, "load flows", reason: "\(error)", errno: error.errno)
    }
  }
}

extension Flow {
  /// Makes a flow over UDP that nothing translates, to be loaded.
  ///
  /// - Parameters:
  ///   - source: Who opens it, and from which port.
  ///   - destination: Where it goes.
  ///   - isAnswered: Whether it was answered (SEEN_REPLY).
  ///   - seconds: How long it lives.
  public init(
    from source: Endpoint, to destination: Endpoint, isAnswered: Bool, seconds: UInt32
  ) {
    let tuple = FlowTuple(
      source: source.address, destination: destination.address, transport: .udp,
      sourcePort: source.port, destinationPort: destination.port)
    self.init(
      original: tuple, reply: tuple.inverted, status: isAnswered ? .seenReply : [], id: 0)
    timeout = seconds
  }
}
