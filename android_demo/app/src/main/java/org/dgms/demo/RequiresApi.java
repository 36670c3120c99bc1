package org.dgms.demo;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * The method or class uses API newer than this app's lowest level (24); callers check {@code
 * Build.VERSION.SDK_INT} first. Lint has such an annotation in AndroidX, which this app does
 * without; the API level check of the host build knows this one.
 */
@Retention(RetentionPolicy.CLASS)
@Target({ElementType.METHOD, ElementType.TYPE})
@interface RequiresApi {
  /** The API level. */
  int value();
}
