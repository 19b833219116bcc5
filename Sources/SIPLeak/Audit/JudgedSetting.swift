/// A kernel setting with what it means on this host.
public struct JudgedSetting: Sendable, Hashable, Codable {
  /// How much it matters.
  public enum Level: String, Sendable, Hashable, Codable {
    /// As it should be.
    case fine
    /// Could be better; worth no line on a first screen.
    case minor
    /// Weakens the firewall or the answer.
    case matters
    /// Could not be read: neither fine nor not.
    case unknown
  }

  /// The setting as `sysctl` names it, or the file of a module's parameter.
  public var name: String
  /// Its value; `nil`: not known.
  public var value: String?
  /// How much it matters.
  public var level: Level
  /// What it means here, in a sentence without a full stop.
  public var text: String
  /// The command that changes it, where that would help; sipleak never runs it.
  public var command: String?

  /// Makes a judged setting.
  public init(
    _ name: String, _ value: String?, _ level: Level, _ text: String, _ command: String? = nil
  ) {
    self.name = name
    self.value = value
    self.level = level
    self.text = text
    self.command = command
  }
}
