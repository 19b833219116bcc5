/// The settings that matter, for the first screen of a diagnosis.
enum SettingsText {
  /// One paragraph: what is so and why it matters, and the commands that change it.
  struct Paragraph: Hashable {
    var text: String
    var commands: [String]
  }

  /// More commands than this are too long for a screen; the JSON has them all.
  private static let mostCommands = 4

  /// What is to be said; empty when every setting is known and none matters.
  ///
  /// - Parameters:
  ///   - settings: The judged settings.
  ///   - isVerbose: Whether also to say what hardly matters.
  /// - Returns: A paragraph for settings of which the same is to be said, in their order.
  static func paragraphs(_ settings: [JudgedSetting], isVerbose: Bool = false) -> [Paragraph] {
    var groups: [(said: JudgedSetting, names: [String], commands: [String])] = []
    for setting in settings where setting.level == .matters || isVerbose && setting.level == .minor
    {
      let short = shortName(setting.name)
      if let index = groups.firstIndex(where: {
        $0.said.text == setting.text && $0.said.value == setting.value
          && $0.said.level == setting.level
      }) {
        groups[index].names.append(short)
        groups[index].commands += [setting.command].compactMap { $0 }
      } else {
        groups.append((setting, [short], [setting.command].compactMap { $0 }))
      }
    }
    var result = groups.map { group in
      var commands = group.commands
      if commands.count > mostCommands {
        let more = commands.count - mostCommands
        commands = commands.prefix(mostCommands) + ["… and \(more) more: --format json"]
      }
      return Paragraph(
        text: "\(subject(group.names)) is \(group.said.value ?? "not known"): \(group.said.text)",
        commands: commands)
    }
    let unknown = settings.filter { $0.level == .unknown }
    if unknown.count == settings.count, !settings.isEmpty {
      result.append(Paragraph(text: "none is known", commands: []))
    } else if !unknown.isEmpty {
      let names = unknown.map { shortName($0.name) }.joined(separator: ", ")
      result.append(Paragraph(text: "not known: \(names)", commands: []))
    }
    return result
  }

  /// `rp_filter on eth0, eth1`, or the name itself.
  private static func subject(_ names: [String]) -> String {
    guard names.count > 1, names.allSatisfy({ $0.hasPrefix("rp_filter on ") }) else {
      return names.joined(separator: ", ")
    }
    return "rp_filter on "
      + names.map { String($0.dropFirst("rp_filter on ".count)) }.joined(separator: ", ")
  }

  private static func shortName(_ name: String) -> String {
    let conf = "net.ipv4.conf."
    let filter = ".rp_filter"
    if name.hasPrefix(conf), name.hasSuffix(filter), name.count > conf.count + filter.count {
      return "rp_filter on \(name.dropFirst(conf.count).dropLast(filter.count))"
    }
    if name.hasPrefix("net.netfilter.") { return String(name.dropFirst("net.netfilter.".count)) }
    return name.split(separator: "/").last.map(String.init) ?? name
  }
}
