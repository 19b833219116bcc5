import ArgumentParser
import Conntrack
import Glibc
import SIPLeak

/// How a watch prints what it finds.
enum WatchFormat: String, ExpressibleByArgument, CaseIterable {
  case text, jsonl
}

/// `sipleak watch`.
struct WatchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch",
    abstract: "Follow conntrack events and report leaks as they appear, and when they go.",
    discussion: """
      Prints the line that audit prints for each finding as it appears, again when its cause \
      changes, and with "gone" in place of the level when it is none any more. Changes nothing.

      Flows that nobody answered are dropped in the kernel. The rules are read again when their \
      nf_tables generation changes (noticed within a second, and read when it has settled), and \
      all of it every --every: legacy tables, ipsets and recent lists change without a sign, and \
      flows older than the watch end without one. Lost events are said on standard error; the \
      table is then read again, so no leak is lost with them.

      Ctrl-C ends it at once with a summary on standard error.

      Exit status, of the whole time: 2 a leak was seen, 3 not everything could be read or a loss \
      was not made good, 1 only things to look at, 0 nothing.
      """)

  @Option(
    name: .customLong("for"),
    help: ArgumentHelp(
      "How long to watch, such as 60s. (default: until interrupted)", valueName: "time"),
    transform: Parse.seconds)
  var length: Double?

  @Option(
    name: .customLong("every"),
    help: ArgumentHelp(
      "Read rules and flows again at the latest after this long: 5s or more.",
      valueName: "time"), transform: Parse.seconds)
  var interval: Double = 30

  @Option(
    name: .customLong("receive-buffer"),
    help: ArgumentHelp(
      "Bytes of the event socket's receive buffer, not to grow by itself. (default: 4 MiB, doubled "
        + "after each loss up to 64 MiB)", valueName: "bytes"))
  var receiveBuffer: Int?

  @OptionGroup var namespace: NamespaceOptions
  @OptionGroup var sip: EndpointOptions
  @OptionGroup var trust: TrustOptions

  @Option(help: "How to print: text or jsonl.")
  var format: WatchFormat = .text

  @Flag(name: .shortAndLong, help: "Print only findings and losses, and no summary.")
  var quiet = false

  @Flag(
    name: .shortAndLong,
    help: "Show how the flow table was read first, and what the kernel and the tools said.")
  var verbose = false

  func validate() throws {
    if interval < 5 { throw ValidationError("--every takes 5s or more.") }
    if let length, length <= 0 { throw ValidationError("--for takes more than 0s.") }
    if let receiveBuffer, !(1024...(1 << 30)).contains(receiveBuffer) {
      throw ValidationError("--receive-buffer takes 1024 to 1073741824 bytes.")
    }
  }

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      // Before signals are held: Ctrl-C ends a look-up that takes its time.
      let policy = try await trust.policy(StateOptions.usualFolder)
      let stop = Watch.Stop()
      StopSignals.call { stop.stop() }
      var watch = Watch(
        sip.endpoints, policy: policy, access: try namespace.access(), interval: interval,
        length: length)
      if let receiveBuffer {
        watch.buffering = FlowEvents.Buffering(
          receiveBuffer: receiveBuffer, largestReceiveBuffer: 0)
      }
      let summary = try await watch.run(stop: stop) { show($0) }
      if !quiet { Console.note("sipleak: \(summary.line)") }
      return summary.exitStatus
    }
  }

  private func show(_ report: WatchReport) -> Bool {
    switch report {
    case .watching(let audit, let reading):
      if verbose, let reading { Console.note(ReadingText.lines(reading)) }
      guard !quiet else { break }
      Console.note("sipleak: watching; \(audit.sipFlowCount) flows to SIP stand")
      for spot in audit.blindSpots {
        Console.note("sipleak: not seen: \(EscapedText.terminal(spot.text))")
      }
    case .news(let news, let time):
      switch format {
      case .text: Console.print(WatchText.line(news, time: time))
      case .jsonl:
        if let line = try? WatchJSON(news, time: time).line() { Console.print(line) }
      }
    case .loss(let loss):
      Console.note(
        "sipleak: events were lost (\(loss.rawValue)); the table is read again")
    case .repaired:
      Console.note("sipleak: the table was read again: nothing is missing any more")
    case .problem(let text):
      Console.note("sipleak: not read: \(EscapedText.terminal(text))")
    }
    // Nobody reads any more (`| head`): watching on would be for nothing.
    return !Console.isReaderGone
  }
}
