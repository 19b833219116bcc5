public import Addressing
public import Firewall

/// One explanation of why somebody reaches SIP, and what the observation says of it.
public struct Explanation: Sendable, Hashable {
  /// Which explanation; its raw value is the stable `id` of the JSON.
  public enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
    /// A flow that began while the rules let it, and lives on.
    case establishedFlow = "established-flow"
    /// A flow that this host opened: a trunk, or a lure.
    case hostOpened = "host-opened"
    /// A SIP helper's expectation lets packets in as RELATED.
    case helper
    /// A rule or policy accepts more sources than meant.
    case acceptRule = "accept-rule"
    /// A rule for other ports covers the SIP port.
    case portRange = "port-range"
    /// The nat table leads other ports to the SIP port.
    case translation = "nat"
    /// ICMP is accepted wholesale.
    case icmp
    /// The source address is forged.
    case spoofedSource = "spoofed-source"
    /// A rule asks for an interface that the peer does not come by.
    case interfaceRule = "interface-rule"
    /// IPv6 has no rules.
    case ipv6
    /// What `iptables -L` does not show decides.
    case otherFilters = "other-filters"
    /// Chains that another program keeps come first.
    case managedChains = "managed-chains"
    /// The packets are not tracked.
    case untracked
    /// The rules are reloaded in a way that leaves them open for a moment.
    case reloadWindow = "reload-window"
    /// A rule that looks into packets sees only the first one of a flow.
    case payloadRule = "payload-rule"
    /// Flows end before the next keepalive.
    case streamTimeout = "stream-timeout"
    /// An accept rule stands behind a rule that refuses all its packets.
    case shadowedAccept = "shadowed-accept"
    /// A rule accepts who writes the right domain.
    case domainAccept = "domain-accept"
    /// The packets have travelled another distance than their address says.
    case hopDistance = "hop-distance"

    /// The explanation in a few words.
    public var title: String {
      switch self {
      case .establishedFlow: "established flow outlives its rule"
      case .hostOpened: "flow opened by this host"
      case .helper: "SIP helper"
      case .acceptRule: "accept rule wider than meant"
      case .portRange: "port range covers the SIP port"
      case .translation: "nat rule leads to the SIP port"
      case .icmp: "ICMP accepted wholesale"
      case .spoofedSource: "spoofed inside or carrier address"
      case .interfaceRule: "interface rule does not hold"
      case .ipv6: "IPv6 unfiltered"
      case .otherFilters: "other tables, backends, nft chains"
      case .managedChains: "Docker or firewalld chains ahead"
      case .untracked: "not tracked, or NOTRACK"
      case .reloadWindow: "reload leaves a window"
      case .payloadRule: "string rule sees first packets only"
      case .streamTimeout: "flow ends before the keepalive"
      case .shadowedAccept: "accept rule behind its drop"
      case .domainAccept: "accept rule by From domain"
      case .hopDistance: "hop distance contradicts address"
      }
    }
  }

  /// What is to be said of an explanation.
  public enum Verdict: String, Sendable, Hashable, Codable, CaseIterable {
    /// It holds.
    case supported
    /// The observation does not decide it.
    case cannotTell = "cannot-tell"
    /// It does not hold.
    case ruledOut = "ruled-out"

    /// The verdict for a person.
    public var words: String { rawValue.replacing("-", with: " ") }
  }

  /// Which one.
  public var kind: Kind
  /// Whether it holds.
  public var verdict: Verdict
  /// Why, in one sentence part; not escaped for terminals.
  public var summary: String
  /// What was seen, for and against.
  public var evidence: [Evidence]
  /// The command that would tell more or set it right.
  ///
  /// Words of others in it are quoted for a shell.
  public var command: String?
  /// Whether the verdict would be the same whatever could not be read.
  var isIndependent = false

  init(
    _ kind: Kind, _ verdict: Verdict, _ summary: String, _ evidence: [Evidence] = [],
    command: String? = nil, isIndependent: Bool = false
  ) {
    self.kind = kind
    self.verdict = verdict
    self.summary = summary
    self.evidence = evidence
    self.command = command
    self.isIndependent = isIndependent
  }
}

/// One thing that speaks for or against an explanation.
public struct Evidence: Sendable, Hashable {
  /// A flow, as far as a person needs to find it.
  public struct FlowEnds: Sendable, Hashable, Codable {
    /// The other end.
    public var peer: Endpoint
    /// Where its packets are addressed on the wire.
    public var wire: Endpoint
    /// Who opened it.
    public var origin: FlowSides.Origin
    /// The kernel's id of the entry.
    public var id: UInt32
  }

  /// A setting of the kernel.
  public struct Setting: Sendable, Hashable, Codable {
    /// Its name as `sysctl` takes it, or the path of a module's parameter.
    public var name: String
    /// Its value.
    public var value: String
  }

  /// What was seen, in a sentence part; not escaped for terminals.
  public var text: String
  /// The rule it is about, with its counters.
  public var rule: RuleReference?
  /// The flow it is about.
  public var flow: FlowEnds?
  /// The sources it is about.
  public var prefixes: [IPPrefix]
  /// The setting it is about.
  public var setting: Setting?

  init(
    _ text: String, rule: RuleReference? = nil, flow: FlowEnds? = nil, prefixes: [IPPrefix] = [],
    setting: Setting? = nil
  ) {
    self.text = text
    self.rule = rule
    self.flow = flow
    self.prefixes = prefixes
    self.setting = setting
  }
}

/// Words for a shell: others' names in a command that a person may copy.
enum ShellWord {
  /// The word as it is if it is harmless, else in single quotes.
  static func quoted(_ word: String) -> String {
    let isPlain =
      !word.isEmpty
      && word.unicodeScalars.allSatisfy { scalar in
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-", "/", ":", "@", "+", ",", "=": true
        default: false
        }
      }
    return isPlain ? word : "'" + word.replacing("'", with: "'\\''") + "'"
  }
}
