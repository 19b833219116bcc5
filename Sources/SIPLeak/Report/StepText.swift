/// One line of a change as it is made.
public enum StepText {
  /// A name in a column of its own and what happened; words of others are escaped.
  public static func line(_ name: String, _ text: String, style: TextStyle) -> String {
    let tag = name.padded(13)
    let coloured: String
    switch name {
    case "verified": coloured = style.green(tag)
    case "failed", "not deleted": coloured = style.red(tag)
    default: coloured = tag
    }
    return "  \(coloured) \(EscapedText.terminal(text))\n"
  }
}
