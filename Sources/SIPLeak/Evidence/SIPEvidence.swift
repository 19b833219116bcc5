public import Addressing
public import SIP
public import SystemPackage

/// What was heard of some peers on the wire, and how the listening went.
public struct SIPEvidence: Sendable {
  /// How long it was to be, in seconds.
  public var seconds: Double
  /// How long it was.
  public var heardSeconds: Double
  /// Whether Ctrl-C or TERM ended it early.
  public var isInterrupted = false
  /// Every peer that was listened to, with what it sent; in the order they were named.
  public var peers: [PeerEvidence]
  /// Peers that were not listened to, as there were too many.
  public var omittedPeers: [IPAddress] = []
  /// The log group, and the backends the rules stood in.
  public var group: UInt16 = 0
  /// The tools' names of the backends: `nft`, `legacy`.
  public var backends: [String] = []
  /// Packets that the kernel logged and that never came here.
  public var lost: UInt64 = 0
  /// Times that the log's buffer was full.
  public var overruns = 0
  /// Rules of an earlier run that had been left and were removed first.
  public var leftovers = 0
  /// The capture, if one was asked for.
  public var capture: Capture?
  /// What went wrong, in words; empty when all was heard.
  public var problems: [String] = []

  /// A capture file.
  public struct Capture: Sendable, Hashable {
    /// Where it is.
    public var path: FilePath
    /// How many packets are in it.
    public var packets: Int
  }
}

extension SIPEvidence {
  /// The TTLs or hop limits that each peer's packets arrived with, for a diagnosis.
  public var hopLimits: [IPAddress: [UInt8]] {
    Dictionary(
      peers.map { ($0.address, $0.hopLimits.ranked.map(\.value)) },
      uniquingKeysWith: { first, _ in first })
  }
}

/// What one peer sent.
public struct PeerEvidence: Sendable {
  /// The peer.
  public var address: IPAddress
  /// Packets, whatever they hold.
  public var packets = 0
  /// Bytes of them from the IP header on.
  public var bytes = 0
  /// When the first and last came, in seconds since 1970 UTC.
  public var first: Double?
  /// See ``first``.
  public var last: Double?
  /// Packets that begin with a SIP message.
  public var sipPackets = 0
  /// Packets that keep a way open and say nothing: empty, or line breaks and zeros alone.
  public var keepalives = 0
  /// TLS records, which cannot be read.
  public var encrypted = 0
  /// Requests whose Request-URI names another port than they were sent to.
  public var misdirected = 0
  /// Packets by the TTL or hop limit they arrived with.
  public var hopLimits = Tally<UInt8>(most: 16)
  /// Packets by method, or by status for responses.
  public var methods = Tally<String>(most: 32)
  /// Packets by where they were sent.
  public var ports = Tally<Port>(most: 64)
  /// Requests by the user they are for.
  public var users = Tally<String>(most: 256)
  /// Requests by who they say they are.
  public var agents = Tally<String>(most: 16)
  /// One message of each kind, with how often it came.
  public var messages = Tally<MessageEvidence>(most: 24)
  /// What the messages give away about the tool that wrote them.
  public var fingerprints = Tally<FingerprintMatch>(most: 64)
  /// Texts meant for what is behind the telephone system.
  public var injections = Tally<Injection>(most: 32)

  /// A destination port of a transport; `nil` where the protocol has none or a fragment hides it.
  public struct Port: Sendable, Hashable {
    /// The protocol.
    public var transport: IPProtocol
    /// The port.
    public var port: UInt16?
  }

  /// Makes the evidence of a peer that sent nothing yet.
  public init(_ address: IPAddress) { self.address = address }
}

/// One kind of message: what a person wants to see of it.
public struct MessageEvidence: Sendable, Hashable {
  /// The method, or the status of a response.
  public var method: String
  /// The Request-URI as written.
  public var requestURI: String?
  /// The port the Request-URI names or implies.
  public var uriPort: UInt16?
  /// Where the first of them was sent.
  public var destination: Endpoint?
  /// Where it came from.
  public var source: Endpoint?
  /// The transport.
  public var transport: IPProtocol
  /// Whom it is for: the user of the Request-URI, for REGISTER of To.
  public var user: String?
  /// From as written.
  public var from: String?
  /// To as written.
  public var to: String?
  /// Contact as written.
  public var contact: String?
  /// User-Agent or Server as written.
  public var agent: String?
  /// The sent-by of the first Via.
  public var sentBy: String?
  /// What is wrong with it.
  public var problems: [String]

  /// Whether the Request-URI names another port than the packet was sent to.
  public var isMisdirected: Bool {
    guard let uriPort, let destination else { return false }
    return uriPort != destination.port
  }
}

/// Distinct values with how often each came; bounded, so that nobody fills our memory.
public struct Tally<Value: Sendable>: Sendable {
  /// The values in the order they first came.
  public private(set) var values: [Value] = []
  /// How often each came.
  public private(set) var counts: [Int] = []
  /// Occurrences of values beyond the most that are kept.
  public private(set) var others = 0
  private let most: Int
  private var places: [[String]: Int] = [:]

  /// Makes an empty tally.
  init(most: Int) { self.most = most }

  /// Counts a value.
  ///
  /// - Parameters:
  ///   - value: The value that is kept if it is the first of its kind.
  ///   - key: What makes two values the same kind.
  mutating func count(_ value: Value, as key: [String]) {
    if let place = places[key] {
      counts[place] += 1
    } else if values.count < most {
      places[key] = values.count
      values.append(value)
      counts.append(1)
    } else {
      others += 1
    }
  }

  /// Values with their counts, the most frequent first.
  public var ranked: [(value: Value, count: Int)] {
    let pairs = zip(values, counts).map { (value: $0, count: $1) }
    // Stable: what came first stands first.
    return pairs.enumerated().sorted {
      ($1.element.count, $0.offset) < ($0.element.count, $1.offset)
    }.map(\.element)
  }

  /// Everything that was counted.
  public var total: Int { counts.reduce(0, +) + others }

  /// Whether nothing was counted.
  public var isEmpty: Bool { values.isEmpty }
}

extension Tally<String> {
  /// Counts a text, which is its own kind.
  mutating func count(_ text: String) { count(text, as: [text]) }
}
