import Addressing

/// An ``Evaluation`` prepared once for many packets to one endpoint.
///
/// Rules that certainly don't match the endpoint's transport, port, address or interface are left
/// out, and those that ask for a source are found by it. The answer is that of
/// ``Evaluation/walk(_:to:)`` for every packet, down to reasons and order; one that goes elsewhere
/// is just not faster. Preparing costs about as much as a few plain walks.
public struct SpecializedEvaluation: Sendable {
  /// The evaluation underneath.
  public let evaluation: Evaluation
  private let shape: PacketShape
  private let plan: WalkPlan

  /// Prepares the walk of packets that resemble one.
  ///
  /// - Parameters:
  ///   - evaluation: The rules.
  ///   - packet: A packet to the endpoint: its transport, destination, interfaces and
  ///     ``Packet/delivered`` are what is prepared for; source and connection don't matter.
  ///   - path: Where such packets go after routing.
  public init(_ evaluation: Evaluation, toward packet: Packet, path: PacketPath) {
    self.init(
      evaluation, PacketShape(packet, to: path),
      extraAims: packet.delivered.map {
        [Aim(destination: $0.address.bits, port: $0.port)]
      } ?? [])
  }

  init(_ evaluation: Evaluation, _ shape: PacketShape, extraAims: [Aim] = []) {
    self.evaluation = evaluation
    self.shape = shape
    plan = WalkPlan(evaluation, shape: shape, extraAims: extraAims)
  }

  /// Walks a packet through every table it would pass, of both backends.
  ///
  /// - Parameters:
  ///   - packet: The packet.
  ///   - path: Where it goes after routing.
  /// - Returns: The very answer of ``Evaluation/walk(_:to:)``.
  public func walk(_ packet: Packet, to path: PacketPath) -> Walk {
    guard PacketShape(packet, to: path) == shape else { return evaluation.walk(packet, to: path) }
    return evaluation.walk(packet, to: path, guide: guide(packet.source))
  }

  func guide(_ source: IPAddress) -> WalkGuide { WalkGuide(plan: plan, source: source.bits) }
}

/// An ``Evaluation`` that prepares itself for the endpoints it is asked about again and again.
///
/// For callers that judge a mixture of peers, ports and interfaces and don't want to sort them.
public struct RepeatedEvaluation: Sendable {
  /// Endpoints prepared for at most; beyond them walks are plain.
  static let shapeLimit = 256
  /// Plain walks of a shape before preparing pays.
  static let patience = 4

  /// The evaluation underneath.
  public let evaluation: Evaluation
  private var prepared: [PacketShape: SpecializedEvaluation] = [:]
  private var seen: [PacketShape: Int] = [:]

  /// Makes one of an evaluation.
  public init(_ evaluation: Evaluation) { self.evaluation = evaluation }

  /// Walks a packet through every table it would pass, of both backends.
  ///
  /// - Parameters:
  ///   - packet: The packet.
  ///   - path: Where it goes after routing.
  /// - Returns: The very answer of ``Evaluation/walk(_:to:)``.
  public mutating func walk(_ packet: Packet, to path: PacketPath) -> Walk {
    let shape = PacketShape(packet, to: path)
    if let known = prepared[shape] {
      return evaluation.walk(packet, to: path, guide: known.guide(packet.source))
    }
    // Shapes seen once, such as one a source port of ours, must not fill the memory.
    if seen.count > 16 * Self.shapeLimit { seen = [:] }
    seen[shape, default: 0] += 1
    if seen[shape, default: 0] >= Self.patience, prepared.count < Self.shapeLimit {
      prepared[shape] = SpecializedEvaluation(evaluation, toward: packet, path: path)
    }
    return evaluation.walk(packet, to: path)
  }
}
