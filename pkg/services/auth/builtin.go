package auth

// The built-in roles.
const (
	Viewer        = "viewer"
	Operator      = "operator"
	BillingAdmin  = "billing-admin"
	TenantAdmin   = "tenant-admin"
	PlatformAdmin = "platform-admin"
)

// builtin gives the built-in roles.
func builtin() []Role {
	return []Role{
		{
			Name: Viewer, Description: "sees what there is and what happens, changes nothing",
			Permissions: []string{
				"events.read", "failovers.read", "policies.read", "probes.read", "regions.read", "resources.read", "services.read",
				"tenants.read", "zones.read",
			},
		},
		{
			Name: Operator, Description: "runs the platform: manifests, failovers, cordons", Inherits: []string{Viewer},
			Permissions: []string{
				"audit.read", "automation.freeze", "failovers.approve", "failovers.control", "failovers.trigger", "manifests.apply",
				"policies.write", "probes.report", "regions.write", "resources.write", "usage.read", "zones.write",
			},
		},
		{
			Name: BillingAdmin, Description: "sees what is used and what it costs", Inherits: []string{Viewer},
			Permissions: []string{"audit.read", "usage.read"},
		},
		{
			Name: TenantAdmin, Description: "does all that a tenant can do, and gives out its keys", Inherits: []string{BillingAdmin, Operator},
			Permissions: []string{"keys.read", "keys.write", "tenants.write"},
		},
		{
			Name: PlatformAdmin, Description: "may do everything; only for keys of the platform", Inherits: []string{TenantAdmin},
			Permissions: []string{Everything},
		},
	}
}

// platformOnly are the permissions over what all tenants share: a key that is bound to a tenant never has them, whatever its
// roles say.
func platformOnly() []string { return []string{Everything, "probes.report", "regions.write"} }
