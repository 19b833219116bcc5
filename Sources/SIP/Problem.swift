/// Something that is wrong with a message and did not keep it from being read.
///
/// Attackers' tools write careless messages, so what is wrong is evidence too.
public enum Problem: Sendable, Hashable {
  /// Something other than line breaks stands before the start line.
  case leadingBytes
  /// The start line has other blanks than the two single ones that belong there.
  case startLineSpacing
  /// The method is no token.
  case malformedMethod
  /// The method is written in another case than SIP's: it is another method by the letter.
  case methodCase
  /// The protocol version is not `SIP/2.0`.
  case unsupportedVersion
  /// The start line names no version.
  case missingVersion
  /// The status is outside of 100 to 699.
  case statusOutOfRange
  /// A URI is not written as RFC 3261 has it; where it stands.
  case malformedURI(in: String)
  /// A URI is not allowed to have headers or to stand without brackets there.
  case misplacedURI(in: String)
  /// A display name is neither quoted nor made of tokens.
  case malformedDisplayName(in: String)
  /// A quote is opened and never closed.
  case unbalancedQuote(in: String)
  /// Parameters are empty or contain what they may not.
  case malformedParameters(in: String)
  /// A header's value is not of its form.
  case malformedHeader(String)
  /// A line of the head is no header.
  case malformedLine
  /// A number is larger than SIP allows.
  case numberOutOfRange(in: String)
  /// A header that every message of its kind has is missing.
  case missingHeader(String)
  /// A header that may stand once stands more than once; the first was read.
  case repeatedHeader(String)
  /// A parameter that RFC 3261 demands is missing, as in messages of RFC 2543.
  case missingParameter(String, of: String)
  /// The branch is nothing but RFC 3261's magic cookie.
  case emptyBranch
  /// CSeq names another method than the start line.
  case methodMismatch
  /// Lines end in LF alone.
  case bareLineFeed
  /// The head holds control characters outside of quotes.
  case controlCharacter
  /// The blank line that ends the head is missing.
  case unendedHead
  /// The body is shorter than Content-Length says.
  case shortBody
  /// There is more than is read: headers, values or parameters.
  case tooMuch
}

extension Problem {
  /// Whether messages of RFC 2543 are written like that, which RFC 3261 §8.1.1.7 and §19.3 still
  /// take.
  public var isOldStyle: Bool {
    switch self {
    case .missingParameter: true
    case .missingHeader(let name): name == "Max-Forwards"
    default: false
    }
  }
}

extension Problem: CustomStringConvertible {
  /// The problem in a few words.
  public var description: String {
    switch self {
    case .leadingBytes: "bytes before the start line"
    case .startLineSpacing: "stray blanks in the start line"
    case .malformedMethod: "the method is no token"
    case .methodCase: "the method is not in capitals"
    case .unsupportedVersion: "the version is not SIP/2.0"
    case .missingVersion: "no version in the start line"
    case .statusOutOfRange: "the status is outside of 100 to 699"
    case .malformedURI(let place): "malformed URI in \(place)"
    case .misplacedURI(let place): "a URI of this form may not stand in \(place)"
    case .malformedDisplayName(let place): "unquoted display name in \(place)"
    case .unbalancedQuote(let place): "a quote in \(place) is never closed"
    case .malformedParameters(let place): "malformed parameters in \(place)"
    case .malformedHeader(let name): "malformed \(name)"
    case .malformedLine: "a line that is no header"
    case .numberOutOfRange(let place): "a number in \(place) is too large"
    case .missingHeader(let name): "no \(name)"
    case .repeatedHeader(let name): "more than one \(name)"
    case .missingParameter(let name, let place): "no \(name) in \(place)"
    case .emptyBranch: "a branch without anything behind its cookie"
    case .methodMismatch: "CSeq names another method"
    case .bareLineFeed: "lines end in LF alone"
    case .controlCharacter: "control characters in the head"
    case .unendedHead: "no blank line ends the head"
    case .shortBody: "the body is shorter than Content-Length"
    case .tooMuch: "more headers or values than are read"
    }
  }
}
