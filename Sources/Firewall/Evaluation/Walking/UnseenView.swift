import Addressing

extension PacketView {
  /// A packet as filters that are not in the rulesets may meet it, anywhere on its way.
  ///
  /// - Parameters:
  ///   - situation: What is known of it at the end of the walk.
  ///   - live: What it has become.
  init(_ situation: Situation, _ live: Variants) {
    let packet = situation.packet
    family = packet.family
    transport = packet.transport
    sources = [packet.source]
    inInterface = packet.inInterface
    outInterface = packet.outInterface
    // Addressed as on the wire at first and as delivered in the end.
    var addresses = [packet.destination]
    var ports = [packet.destinationPort]
    if let delivered = packet.delivered {
      addresses.append(delivered.address)
      ports.append(delivered.port)
    }
    var isAddressKnown = true
    var isStateKnown = true
    for variant in live.list {
      if let address = situation.destination(variant) {
        if !addresses.contains(address) { addresses.append(address) }
      } else {
        isAddressKnown = false
      }
      if !ports.contains(variant.port) { ports.append(variant.port) }
      let state: ConnectionState
      switch situation.connection(variant) {
      case .none: state = .invalid
      case .untracked: state = .untracked
      case .tracked: state = packet.connection.state
      case .template, .unknown:
        isStateKnown = false
        continue
      }
      if !states.contains(state) { states.append(state) }
    }
    if isAddressKnown { destinations = addresses }
    if !isStateKnown { states = [] }
    // Only the first fragment has ports, and some hooks come before fragments are put together.
    guard packet.transport.hasPorts, packet.isLaterFragment == false else { return }
    sourcePorts = packet.sourcePort.map { [$0] } ?? []
    if ports.allSatisfy({ $0 != nil }) { destinationPorts = ports.compactMap { $0 } }
  }
}
