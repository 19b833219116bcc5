import Glibc
import Lab
import Testing

/// Kills sipleak at a chosen call of one of the tools it runs.
///
/// A folder of scripts ahead in PATH stands for the tools: they count their calls and do the work,
/// and at the chosen one kill the process that was started, as a crash or the OOM killer would. The
/// program is not changed for it.
struct Knife {
  /// When within the call the process dies.
  enum Moment: String, CaseIterable {
    /// The tool never does its work.
    case before
    /// The tool does its work, and nobody is told.
    case after
    /// The tool outlives the process that started it.
    case orphaned
  }

  /// A call of a tool.
  struct Call: Equatable {
    var tool: String
    /// Whether it changes the firewall; the others read it, or try out in a namespace of their own.
    var isChange: Bool
  }

  let host: LabHost
  private static let folder = "/run/sipleak-knife"
  private static let systemPath = "/usr/sbin:/sbin:/usr/bin:/bin"

  private static let script = """
    #!/bin/sh
    PATH=\(systemPath)
    tool=${0##*/}
    folder=\(folder)
    victim=$(cat $folder/victim)
    case "$tool $1" in
    "ipset restore" | "nft delete" | *-restore*) kind=change ;;
    "iptables-nft-save"*) kind=look ;;
    *) exec "$tool" "$@" ;;
    esac
    # The dry run's namespace is not the one that is changed.
    [ "$(readlink /proc/$$/ns/net)" = "$(readlink /proc/$victim/ns/net)" ] || kind=look
    # What is asked before the first change is asked side by side.
    call=$(flock $folder/script sh -c 'echo "$1 $2" >> "$3"; grep -c " $2\\$" "$3"' - \
      "$tool" $kind $folder/calls)
    if [ "$kind $call" != "$(cat $folder/at)" ]; then
      if [ -e $folder/fail-$tool ] && [ $kind = change ]; then exit 1; fi
      exec "$tool" "$@"
    fi
    case "$(cat $folder/moment)" in
    before) kill -KILL $victim ;;
    after) "$tool" "$@"; kill -KILL $victim ;;
    orphaned) kill -KILL $victim; "$tool" "$@" ;;
    esac
    touch $folder/done

    """

  /// Puts the scripts in place.
  static func make(on host: LabHost) async throws -> Knife {
    let tools = ["iptables", "ip6tables"].flatMap { name in
      ["nft", "legacy"].flatMap { ["\(name)-\($0)-restore", "\(name)-\($0)-save"] }
    }
    try await host.run(["rm", "-rf", folder])
    try await host.run(["mkdir", "-p", folder])
    try await host.run(
      ["sh", "-c", "cat > \(folder)/script && chmod 755 \(folder)/script"], input: script)
    for tool in tools + ["ipset", "nft"] {
      try await host.run(["ln", "-s", "script", "\(folder)/\(tool)"])
    }
    return Knife(host: host)
  }

  /// Makes a tool fail whenever it is to change something.
  func fail(_ tool: String, _ fails: Bool = true) async throws {
    try await host.run([fails ? "touch" : "rm", "\(Self.folder)/fail-\(tool)"])
  }

  /// Runs sipleak to its end and tells the calls it made.
  func calls(_ words: [String], status: Int32 = 0) async throws -> [Call] {
    let result = try await start(words, at: "nowhere", .before)
    #expect(result.status == status, "\(result)")
    return try await made()
  }

  private func made() async throws -> [Call] {
    try await host.run(["cat", "\(Self.folder)/calls"]).output.split(separator: "\n").map {
      let parts = $0.split(separator: " ")
      return Call(tool: String(parts[0]), isChange: parts[1] == "change")
    }
  }

  /// Runs sipleak and kills it at a call, counted from one among those it made when it was not;
  /// returns when its tools have ended too.
  ///
  /// How often it looks may differ: on a busy host it looks again. How often it changes something
  /// may not.
  func kill(
    _ words: [String], at call: Int, of calls: [Call], _ moment: Moment
  ) async throws {
    let isChange = calls[call - 1].isChange
    let number = calls.prefix(call).count { $0.isChange == isChange }
    let result = try await start(words, at: "\(isChange ? "change" : "look") \(number)", moment)
    if !isChange, result.status != 137, try await made().count(where: { !$0.isChange }) < number {
      return
    }
    #expect(result.status == 137, "\(words) at \(call) \(moment): \(result)")
    guard result.status == 137 else { return }
    #expect(
      try await eventually(within: .seconds(600)) {
        try await host.attempt(["test", "-e", "\(Self.folder)/done"]).status == 0
      }, "a tool did not end")
  }

  private func start(
    _ words: [String], at call: String, _ moment: Moment
  ) async throws -> ToolOutput {
    let command = words.map { "'\($0)'" }.joined(separator: " ")
    return try await host.attempt([
      "sh", "-c",
      """
      cd \(Self.folder) && rm -f calls done && touch calls && echo '\(call)' > at &&
      echo \(moment.rawValue) > moment && sh -c 'echo $$ > victim; exec "$@"' - \
      env PATH=\(Self.folder):\(Self.systemPath) '\(Kernel.Commands.program)' \(command)
      """,
    ])
  }
}

extension Array where Element == Knife.Call {
  /// Where to kill: at every call; at those that change something in one way each, and in every way
  /// with `SIPLEAK_SAFETY_CUTS=all`.
  var cuts: [(call: Int, moment: Knife.Moment)] {
    let isWhole = unsafe getenv("SIPLEAK_SAFETY_CUTS").map { unsafe String(cString: $0) } == "all"
    var changes = 0
    return enumerated().flatMap { index, call -> [(call: Int, moment: Knife.Moment)] in
      guard call.isChange else { return [(index + 1, .before)] }
      changes += 1
      let moments = Knife.Moment.allCases
      return (isWhole ? moments : [moments[changes % moments.count]]).map { (index + 1, $0) }
    }
  }
}
