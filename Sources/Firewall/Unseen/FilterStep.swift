/// One thing an unseen filter does to some packets.
public struct FilterStep: Sendable, Hashable, Codable {
  /// What it does.
  public enum Effect: String, Sendable, Hashable, Codable {
    /// Lets them through untouched, and no later step meets them.
    case passes
    /// May refuse, change, redirect or hide them from tracking.
    case touches
  }

  /// The effect.
  public var effect: Effect
  /// On which packets.
  ///
  /// Of a step that passes: exactly those. Of one that touches: at most those.
  public var scope: PacketScope

  /// Makes a step.
  public init(_ effect: Effect, _ scope: PacketScope) {
    self.effect = effect
    self.scope = scope
  }
}
