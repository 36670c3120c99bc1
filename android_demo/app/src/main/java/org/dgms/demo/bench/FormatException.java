package org.dgms.demo.bench;

import java.io.IOException;

/** A file is there, but its content is not what it should be; the message names the place and the rule. */
public final class FormatException extends IOException {
  private static final long serialVersionUID = 1L;

  FormatException(String message) {
    super(message);
  }

  FormatException(String message, Throwable cause) {
    super(message, cause);
  }
}
