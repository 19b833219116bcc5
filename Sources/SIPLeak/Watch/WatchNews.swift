public import Conntrack

/// Something that happened to a finding while it was watched for.
public enum WatchNews: Sendable, Hashable {
  /// Why a finding is none any more.
  public enum End: String, Sendable, Hashable, Codable {
    /// The flow is out of the table.
    case flowEnded = "flow-ended"
    /// The flow may stand; the rules, the trust or its state make it no finding.
    case noFinding = "no-finding"
  }

  /// It was not there before.
  case appeared(Finding)
  /// Its cause or level changed, or a latent flow was answered; with the level it had before.
  case changed(Finding, was: Level)
  /// It is gone.
  case gone(Finding, End)

  /// The finding.
  public var finding: Finding {
    switch self {
    case .appeared(let finding), .changed(let finding, _), .gone(let finding, _): finding
    }
  }
}

/// What a watch has to say.
public enum WatchReport: Sendable {
  /// It listens and has read the host for the first time; with how the flow table was read.
  case watching(Audit, FlowDump.Account?)
  /// A finding came, changed or went; the time in seconds since 1970.
  case news(WatchNews, time: Double)
  /// Events were lost; the table is read again.
  case loss(FlowEvent.Loss)
  /// The table was read again after losses: nothing is missing any more.
  case repaired
  /// Something could not be read, in words; said once as long as it lasts.
  case problem(String)
}

/// What a watch has seen, from its beginning to its end.
public struct WatchSummary: Sendable, Hashable {
  /// Seconds it lasted.
  public var seconds: Double = 0
  /// Leaks that appeared, those that stood at the beginning included.
  public var leaks = 0
  /// Things to look at that appeared.
  public var looks = 0
  /// Findings that went.
  public var gone = 0
  /// Findings that stood at the end.
  public var standing = 0
  /// How often the host was read.
  public var readings = 0
  /// What the event socket counted.
  public var events = FlowEvents.Counts()
  /// Dumps that made a loss good.
  public var repairs = 0
  /// Whether at the end nothing was missing: everything read, every loss made good.
  public var isComplete = false

  /// Begins to count.
  public init() {}

  /// The exit status, as an audit of the whole time: 2 leaks were seen, 3 something was not read or a
  /// loss not made good, 1 only things to look at, 0 nothing.
  public var exitStatus: Int32 {
    if leaks > 0 { return 2 }
    if !isComplete { return 3 }
    return looks > 0 ? 1 : 0
  }

  /// The summary in one line.
  public var line: String {
    func many(_ count: some BinaryInteger, _ one: String, _ more: String? = nil) -> String {
      "\(Quantity.grouped(count)) \(count == 1 ? one : more ?? one + "s")"
    }
    return "watched \(Quantity.duration(seconds)): \(many(leaks, "leak")), \(many(looks, "look")), "
      + "\(gone) gone, \(standing) standing; \(many(events.given, "event")), "
      + "\(many(events.losses, "loss", "losses")), \(many(repairs, "repair")), "
      + many(readings, "reading") + (isComplete ? "" : "; not everything could be read")
  }
}
