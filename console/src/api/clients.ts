/** One client for each service of the contract. */
import { createClient } from "@connectrpc/connect";
import { credentials } from "../app/session.ts";
import { AdminService } from "../gen/postwire/v1/admin_service_pb.ts";
import { DispatchService } from "../gen/postwire/v1/dispatch_service_pb.ts";
import { InboxService } from "../gen/postwire/v1/inbox_service_pb.ts";
import { ProviderService } from "../gen/postwire/v1/provider_service_pb.ts";
import { SuppressionService } from "../gen/postwire/v1/suppression_service_pb.ts";
import { createTransport } from "./transport.ts";

// With ?debug in the address calls are JSON, which the browser's own tools can show.
const json = new URLSearchParams(window.location.search).has("debug");
const transport = createTransport(window.location.origin, json, credentials);

export const admin = createClient(AdminService, transport);
export const dispatch = createClient(DispatchService, transport);
export const inbox = createClient(InboxService, transport);
export const providers = createClient(ProviderService, transport);
export const suppressions = createClient(SuppressionService, transport);
