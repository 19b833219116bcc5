/// What a pasted table says, and what in it could not be read.
public struct TableTextReading: Sendable, Hashable {
  /// The flows that were asked for, each once and as it was told last, in the text's order.
  ///
  /// What the text hides is absent: master, EXPECTED, start; and the id (0) where it isn't printed.
  public var flows: [Flow] = []
  /// The expectations, in the text's order.
  ///
  /// `/proc/net/nf_conntrack_expect` prints neither mask nor master: the mask is the one a helper
  /// makes of what is printed, the master's addresses are unspecified.
  public var expectations: [Expectation] = []
  /// Number of lines that told of a flow, asked for or not.
  public var flowCount: UInt64 = 0
  /// Number of flows that `conntrack` itself says it printed; `nil` where the text doesn't tell.
  public var announcedFlows: UInt64?
  /// Number of expectations that `conntrack` itself says it printed.
  public var announcedExpectations: UInt64?
  /// What could not be read: the first ``complaintLimit``.
  public var complaints: [TextComplaint] = []
  /// Number of places that could not be read.
  public var complaintCount: UInt64 = 0
  /// The commands at shell prompts in the text, up to 100; not escaped for terminals.
  public var commands: [String] = []
  /// Whether the text holds events: then it shows what changed, not what there is.
  public var hasEvents = false
  /// The addresses that are an end of every flow in the text, asked for or not.
  ///
  /// Loopback flows aside. The only one is the host itself, unless the host forwards.
  public var commonAddresses: CommonAddresses = .init()

  /// The most complaints that are kept.
  public static let complaintLimit = 100

  /// Makes a reading of nothing.
  public init() {}

  /// Whether every line was understood and none is known to be missing.
  public var isComplete: Bool { complaintCount == 0 && missing == nil }

  /// What is missing by the text's own count, in a sentence; `nil` if nothing is.
  public var missing: String? {
    if let announcedFlows, announcedFlows > flowCount {
      return "conntrack printed \(announcedFlows) flows, and \(flowCount) are here"
    }
    if let announcedExpectations, announcedExpectations > UInt64(expectations.count) {
      return
        "conntrack printed \(announcedExpectations) expectations, and \(expectations.count) are here"
    }
    return nil
  }
}
